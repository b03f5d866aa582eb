using OrleansCluster.Api;
using OrleansCluster.Storage;

namespace OrleansCluster.ApiServer;

/// <summary>Which objects of a resource a list, watch or deletecollection is about: namespace, label selector, field selector.</summary>
internal sealed class ObjectFilter
{
    private readonly LabelSelector _labels;
    private readonly FieldSelector _fields;
    private readonly bool _namespaced;

    private ObjectFilter(ResourceDefinition definition, string @namespace, LabelSelector labels, FieldSelector fields, string? name)
    {
        _labels = labels;
        _fields = fields;
        _namespaced = definition.Namespaced;
        Name = name;
        Namespace = definition.Namespaced
            ? @namespace.Length > 0 ? @namespace : fields.RequiresExactMatch("metadata.namespace", out var only) ? only : null
            : "";
    }

    /// <summary>The one namespace, `""` for a cluster-scoped resource, or null for all namespaces.</summary>
    public string? Namespace { get; }

    /// <summary>The one name a `metadata.name` selector asks for, or null.</summary>
    public string? Name { get; }

    /// <summary>The namespace to enumerate, null for all objects.</summary>
    public string? NamespaceOrAll => _namespaced ? Namespace : null;

    /// <summary>True if there is no selector; the namespace may still narrow.</summary>
    public bool IsNamespaceOnly => _labels.Requirements.Count == 0 && !_labels.IsNothing && _fields.IsEverything && Name is null;

    /// <summary>True if every object of the resource passes.</summary>
    public bool IsEmpty => IsNamespaceOnly && NamespaceOrAll is null;

    /// <summary>Reads the selectors.</summary>
    /// <param name="definition">The resource.</param>
    /// <param name="namespace">Namespace of the path, or the empty string.</param>
    /// <param name="options">Checked options.</param>
    /// <param name="name">Name of the path (a watch of one object), or the empty string.</param>
    /// <exception cref="StatusException">400: a selector cannot be understood.</exception>
    public static ObjectFilter Parse(ResourceDefinition definition, string @namespace, ListOptions options, string name = "")
    {
        var labels = options.LabelSelector.Length == 0 ? LabelSelector.Everything : LabelSelector.Parse(options.LabelSelector);
        var fields = options.FieldSelector.Length == 0 ? FieldSelector.Everything : FieldSelector.Parse(options.FieldSelector, definition);
        return new ObjectFilter(
            definition, @namespace, labels, fields, name.Length > 0 ? name : fields.RequiresExactMatch("metadata.name", out var only) ? only : null);
    }

    /// <summary>True if an object passes.</summary>
    public bool Matches(ICachedObject item) =>
        (!_namespaced || Namespace is null || item.Key.Namespace == Namespace)
        && (Name is null || item.Key.Name == Name)
        && _labels.Matches(item.Labels)
        && (_fields.IsEverything || _fields.Matches(item, static (o, label) => o.Field(label)));

    /// <summary>The objects of a snapshot that pass, in order.</summary>
    public IEnumerable<ICachedObject> Select(ICacheSnapshot snapshot)
    {
        if (Name is not null && Namespace is not null)
        {
            if (snapshot.Find(Namespace, Name) is { } found && Matches(found))
                yield return found;
            yield break;
        }
        foreach (var item in snapshot.Enumerate(NamespaceOrAll))
        {
            if (Matches(item))
                yield return item;
        }
    }
}
