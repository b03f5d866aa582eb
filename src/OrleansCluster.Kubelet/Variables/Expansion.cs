using System.Text;

namespace OrleansCluster.Kubelet.Variables;

/// <summary>`$(NAME)` references of container fields: known names are replaced, `$$(NAME)` becomes `$(NAME)`, unknown ones stay as they are.</summary>
internal static class Expansion
{
    public static string Expand(string text, IReadOnlyDictionary<string, string> variables)
    {
        if (!text.Contains('$', StringComparison.Ordinal))
            return text;
        var result = new StringBuilder(text.Length);
        for (var i = 0; i < text.Length; i++)
        {
            if (text[i] != '$' || i + 1 == text.Length)
            {
                result.Append(text[i]);
                continue;
            }
            switch (text[i + 1])
            {
                case '$':
                    result.Append('$');
                    i++;
                    break;
                case '(' when text.IndexOf(')', i + 2) is var end and > 0:
                    var name = text[(i + 2)..end];
                    if (variables.TryGetValue(name, out var value))
                        result.Append(value);
                    else
                        result.Append(text, i, end - i + 1);
                    i = end;
                    break;
                default:
                    result.Append('$');
                    break;
            }
        }
        return result.ToString();
    }
}
