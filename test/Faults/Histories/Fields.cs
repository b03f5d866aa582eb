using System.Text.Json.Serialization;

namespace OrleansCluster.Faults.Histories;

/// <summary>
/// The part of an object that only the workload writes, as sorted name/value pairs: a ConfigMap's data, a pod's annotations of the workload. Compared by value.
/// </summary>
[method: JsonConstructor]
internal sealed class Fields(IReadOnlyDictionary<string, string> values) : IEquatable<Fields>
{
    public static readonly Fields Empty = new(new Dictionary<string, string>(StringComparer.Ordinal));

    private string? _text;

    public IReadOnlyDictionary<string, string> Values { get; } = values;

    private string Text => _text ??= string.Join(',', Values.OrderBy(p => p.Key, StringComparer.Ordinal).Select(p => $"{p.Key}={p.Value}"));

    public static Fields Of(params (string Name, string Value)[] pairs) => new(pairs.ToDictionary(p => p.Name, p => p.Value, StringComparer.Ordinal));

    /// <summary>A copy with some members set and, where the value is null, removed.</summary>
    public Fields With(IReadOnlyDictionary<string, string?> changes)
    {
        var next = new Dictionary<string, string>(Values, StringComparer.Ordinal);
        foreach (var (name, value) in changes)
        {
            if (value is null)
                next.Remove(name);
            else
                next[name] = value;
        }
        return new Fields(next);
    }

    public bool Equals(Fields? other) => other is not null && Text == other.Text;

    public override bool Equals(object? obj) => Equals(obj as Fields);

    public override int GetHashCode() => StringComparer.Ordinal.GetHashCode(Text);

    public override string ToString() => "{" + Text + "}";
}

/// <summary>What a write does to the fields.</summary>
internal enum ChangeKind
{
    /// <summary>The object must not exist; then it has these fields.</summary>
    Create,

    /// <summary>The object must exist; then it has these fields and no others.</summary>
    Replace,

    /// <summary>The object must exist; these fields are set or, with null, removed; the others stay.</summary>
    Merge,

    /// <summary>The object must exist; then it does not.</summary>
    Delete,
}

/// <summary>A write as a function from the fields before to the fields after. It carries a value that no other write carries, so that its effect can be recognised.</summary>
/// <param name="Kind">What it does.</param>
/// <param name="Set">The fields.</param>
internal sealed record Change(ChangeKind Kind, IReadOnlyDictionary<string, string?> Set)
{
    public static Change Create(params (string Name, string? Value)[] fields) => new(ChangeKind.Create, Map(fields));

    public static Change Replace(params (string Name, string? Value)[] fields) => new(ChangeKind.Replace, Map(fields));

    public static Change Merge(params (string Name, string? Value)[] fields) => new(ChangeKind.Merge, Map(fields));

    public static Change Delete { get; } = new(ChangeKind.Delete, Map([]));

    /// <summary>The effect on a state (null: absent). False if the write cannot happen in that state.</summary>
    public bool TryApply(Fields? before, out Fields? after)
    {
        after = Kind switch
        {
            ChangeKind.Create or ChangeKind.Replace => Fields.Empty.With(Set),
            ChangeKind.Merge => before?.With(Set),
            _ => null,
        };
        return before is null == (Kind == ChangeKind.Create);
    }

    private static Dictionary<string, string?> Map((string Name, string? Value)[] fields) => fields.ToDictionary(f => f.Name, f => f.Value, StringComparer.Ordinal);
}
