using OrleansCluster.Api;

namespace OrleansCluster.Storage;

/// <summary>
/// <see cref="ICachedObject"/> as small as it goes: the served bytes, and strings shared with other objects of the same cache or with the object's
/// earlier version. The budget is 2 x JSON + 300 bytes.
/// </summary>
internal sealed class CachedObject(
    ObjectKey key, long revision, byte[] bytes, int itemStart, string uid, string? controllerUid, bool isDeleting,
    KeyValuePair<string, string>[] labels, string[] fields, string[] fieldLabels) : ICachedObject
{
    public ObjectKey Key { get; } = key;

    public long Revision { get; } = revision;

    public ReadOnlyMemory<byte> Bytes => bytes;

    public ReadOnlyMemory<byte> ItemBytes => bytes.AsMemory(itemStart);

    public IReadOnlyList<KeyValuePair<string, string>> Labels => labels;

    public string Uid { get; } = uid;

    public string? ControllerUid { get; } = controllerUid;

    public bool IsDeleting { get; } = isDeleting;

    public string? Field(string label)
    {
        var i = Array.IndexOf(fieldLabels, label);
        if (i >= 0)
            return fields[i];
        return label switch
        {
            "metadata.name" => Key.Name,
            "metadata.namespace" => Key.Namespace,
            _ => null,
        };
    }

    internal KeyValuePair<string, string>[] LabelArray => labels;

    public override string ToString() => $"{Key}@{Revision}";
}
