namespace OrleansCluster.Api;

/// <summary>
/// Names one API object: its resource (`pods`, `replicasets.apps`), its namespace (empty for cluster-scoped kinds) and its name.
/// Its text form `resource/namespace/name` is the key of the object's grain.
/// </summary>
/// <param name="Resource">Plural resource name, with `.group` appended for every group but the core one.</param>
/// <param name="Namespace">Namespace, or the empty string for a cluster-scoped object.</param>
/// <param name="Name">Object name.</param>
public readonly record struct ObjectKey(string Resource, string Namespace, string Name)
{
    /// <summary>Key inside the resource's table and cache: `namespace/name`, or `name` for cluster-scoped kinds.</summary>
    public string StorageKey => Namespace.Length == 0 ? Name : $"{Namespace}/{Name}";

    /// <summary>Builds a key from a resource and a <see cref="StorageKey"/>.</summary>
    public static ObjectKey FromStorageKey(string resource, string storageKey)
    {
        var slash = storageKey.IndexOf('/', StringComparison.Ordinal);
        return slash < 0
            ? new ObjectKey(resource, "", storageKey)
            : new ObjectKey(resource, storageKey[..slash], storageKey[(slash + 1)..]);
    }

    /// <summary>Reads the text form written by <see cref="ToString"/>.</summary>
    /// <exception cref="FormatException">The text has not three parts.</exception>
    public static ObjectKey Parse(string text)
    {
        var first = text.IndexOf('/', StringComparison.Ordinal);
        var second = first < 0 ? -1 : text.IndexOf('/', first + 1);
        if (second < 0)
            throw new FormatException($"'{text}' is not an object key (resource/namespace/name).");
        return new ObjectKey(text[..first], text[(first + 1)..second], text[(second + 1)..]);
    }

    /// <inheritdoc/>
    public override string ToString() => $"{Resource}/{Namespace}/{Name}";
}
