using System.Text;
using System.Text.Json;

namespace OrleansCluster.Api;

/// <summary>
/// The selectable fields of a kind as a tree over member names, made once, so that one pass over an object's bytes finds them all.
/// </summary>
internal sealed class HeaderFields
{
    private readonly Node _root = new();

    public HeaderFields(IReadOnlyList<SelectableField> fields)
    {
        Labels = [.. fields.Select(f => f.Label)];
        Defaults = [.. fields.Select(f => f.Default)];
        for (var field = 0; field < fields.Count; field++)
        {
            for (var rank = 0; rank < fields[field].Members.Count; rank++)
                Add(fields[field].Members[rank], field, rank);
        }
    }

    /// <summary>Labels in the order of the values.</summary>
    public string[] Labels { get; }

    /// <summary>Values of absent members.</summary>
    public string[] Defaults { get; }

    /// <summary>Reads the value of a root member (the reader stands on its name), and whatever fields lie below it.</summary>
    /// <param name="reader">Ends on the last token of the value.</param>
    /// <param name="values">Receives the values.</param>
    /// <param name="ranks">Rank of each value's path; a lower one wins.</param>
    public void ReadMember(ref Utf8JsonReader reader, string?[] values, scoped Span<int> ranks) => ReadMember(_root, ref reader, values, ranks);

    private static void ReadMember(Node parent, ref Utf8JsonReader reader, string?[] values, scoped Span<int> ranks)
    {
        foreach (var child in parent.Children)
        {
            if (!reader.ValueTextEquals(child.Name))
                continue;
            reader.Read();
            ReadValue(child, ref reader, values, ranks);
            return;
        }
        reader.Skip();
    }

    private static void ReadValue(Node node, ref Utf8JsonReader reader, string?[] values, scoped Span<int> ranks)
    {
        switch (reader.TokenType)
        {
            case JsonTokenType.StartObject:
                while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
                    ReadMember(node, ref reader, values, ranks);
                break;
            case JsonTokenType.StartArray:
                ReadItems(node, ref reader, values, ranks);
                break;
            default:
                if (node.Field >= 0 && node.Rank < ranks[node.Field])
                {
                    var text = Text(ref reader);
                    if (text.Length > 0)
                    {
                        values[node.Field] = text;
                        ranks[node.Field] = node.Rank;
                    }
                }
                break;
        }
    }

    private static void ReadItems(Node node, ref Utf8JsonReader reader, string?[] values, scoped Span<int> ranks)
    {
        Span<byte> digits = stackalloc byte[11];
        for (var index = 0; reader.Read() && reader.TokenType != JsonTokenType.EndArray; index++)
        {
            Node? match = null;
            if (node.Children.Length > 0 && index.TryFormat(digits, out var length))
            {
                foreach (var child in node.Children)
                {
                    if (digits[..length].SequenceEqual(child.Name))
                        match = child;
                }
            }
            if (match is null)
                reader.Skip();
            else
                ReadValue(match, ref reader, values, ranks);
        }
    }

    private static string Text(ref Utf8JsonReader reader) => reader.TokenType switch
    {
        JsonTokenType.True => "true",
        JsonTokenType.False => "false",
        JsonTokenType.Null => "",
        JsonTokenType.String when reader.ValueIsEscaped => reader.GetString() ?? "",
        _ => StringPool.Shared.Get(reader.ValueSpan),
    };

    private void Add(string[] members, int field, int rank)
    {
        var node = _root;
        foreach (var member in members)
        {
            var name = Encoding.UTF8.GetBytes(member);
            var child = Array.Find(node.Children, c => c.Name.AsSpan().SequenceEqual(name));
            if (child is null)
            {
                child = new Node { Name = name };
                node.Children = [.. node.Children, child];
            }
            node = child;
        }
        (node.Field, node.Rank) = (field, rank);
    }

    private sealed class Node
    {
        public byte[] Name { get; init; } = [];

        public Node[] Children { get; set; } = [];

        public int Field { get; set; } = -1;

        public int Rank { get; set; }
    }
}
