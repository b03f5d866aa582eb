using OrleansCluster.Api;

namespace OrleansCluster.Storage;

/// <summary>Which objects of a resource a reader wants: namespace, label selector and field selector. Immutable.</summary>
public sealed class ObjectMatcher
{
    private readonly string _namespace;
    private readonly LabelSelector _labels;
    private readonly FieldSelector _fields;

    /// <summary>Makes a matcher.</summary>
    /// <param name="namespace">A namespace, or the empty string for all.</param>
    /// <param name="labels">Selects by labels.</param>
    /// <param name="fields">Selects by fields.</param>
    public ObjectMatcher(string @namespace, LabelSelector labels, FieldSelector fields)
    {
        _namespace = @namespace;
        _labels = labels;
        _fields = fields;
    }

    /// <summary>Parses both selectors.</summary>
    /// <exception cref="StatusException">400: a selector is malformed or names an unknown field.</exception>
    public static ObjectMatcher Parse(string @namespace, string labelSelector, string fieldSelector, ResourceDefinition definition) => new(
        @namespace,
        labelSelector.Length == 0 ? LabelSelector.Everything : LabelSelector.Parse(labelSelector),
        fieldSelector.Length == 0 ? FieldSelector.Everything : FieldSelector.Parse(fieldSelector, definition));

    /// <summary>True for a wanted object.</summary>
    public bool Matches(ICachedObject obj) =>
        (_namespace.Length == 0 || obj.Key.Namespace == _namespace)
        && _labels.Matches(obj.Labels)
        && (_fields.IsEverything || _fields.Matches(obj, static (o, label) => o.Field(label)));

    /// <summary>
    /// The event a reader sees for a change: an object that enters the selection is added for it, one that leaves it is deleted. Null: nothing.
    /// </summary>
    public ChangeType? Transition(CacheChange change)
    {
        var now = change.Type != ChangeType.Deleted && Matches(change.Object);
        var before = change.Previous is { } previous ? Matches(previous) : change.Type == ChangeType.Deleted && Matches(change.Object);
        return (before, now) switch
        {
            (false, true) => ChangeType.Added,
            (true, true) => ChangeType.Modified,
            (true, false) => ChangeType.Deleted,
            _ => null,
        };
    }
}
