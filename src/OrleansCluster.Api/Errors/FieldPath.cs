using System.Text;

namespace OrleansCluster.Api;

/// <summary>
/// A path to a field, as an immutable node that knows its parent: one small object per step, printed only when an error needs it.
/// </summary>
public sealed class FieldPath
{
    private readonly FieldPath? _parent;
    private readonly string _step;
    private readonly int _index;

    private FieldPath(FieldPath? parent, string step, int index)
    {
        _parent = parent;
        _step = step;
        _index = index;
    }

    /// <summary>Starts a path at a member of the object.</summary>
    public static FieldPath Root(string member) => new(null, member, -1);

    /// <summary>The member below this one.</summary>
    public FieldPath Child(string member) => new(this, member, -1);

    /// <summary>The list item below this one.</summary>
    public FieldPath Index(int index) => new(this, "", index);

    /// <summary>The map entry below this one, printed as `[key]`.</summary>
    public FieldPath Key(string key) => new(this, key, -2);

    /// <inheritdoc/>
    public override string ToString()
    {
        var text = new StringBuilder();
        Write(text);
        return text.ToString();
    }

    private void Write(StringBuilder text)
    {
        _parent?.Write(text);
        switch (_index)
        {
            case -1:
                if (text.Length > 0)
                    text.Append('.');
                text.Append(_step);
                break;
            case -2:
                text.Append('[').Append(_step).Append(']');
                break;
            default:
                text.Append('[').Append(_index).Append(']');
                break;
        }
    }
}
