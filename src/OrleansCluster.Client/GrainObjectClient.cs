using System.Text.Json.Nodes;
using OrleansCluster.Api;
using OrleansCluster.Storage;

namespace OrleansCluster.Client;

/// <summary>
/// <see cref="IObjectClient"/> of a process without caches: reads ask a silo's cache through its reader grain and are not older than the call, so own
/// writes are always in them; writes go through the object's grain.
/// </summary>
internal sealed class GrainObjectClient(IGrainFactory grains, ObjectWriter writer, ResourceRegistry registry) : IObjectClient
{
    private const int PageSize = 500;

    public async ValueTask<ICachedObject?> GetAsync(ObjectKey key, CancellationToken cancellationToken)
    {
        var bytes = await Reader(key.Resource).GetAsync(key.Namespace, key.Name, cancellationToken);
        return bytes is null ? null : new ReadObject(registry.Get(key.Resource), bytes);
    }

    public async ValueTask<ICacheSnapshot> ListAsync(string resource, CancellationToken cancellationToken)
    {
        var definition = registry.Get(resource);
        var (revision, objects) = await ReadAllAsync(Reader(resource), new ListQuery(), PageSize, cancellationToken);
        return new ReadSnapshot(revision, [.. objects.Select(bytes => new ReadObject(definition, bytes))]);
    }

    public async Task<JsonObject> CreateAsync(string resource, JsonObject obj, CancellationToken cancellationToken) =>
        Parse(await writer.CreateAsync(registry.Get(resource), obj, cancellationToken));

    public async Task<JsonObject> UpdateAsync(ObjectKey key, JsonObject obj, CancellationToken cancellationToken, string subresource = "") =>
        Parse(await writer.UpdateAsync(key, obj, subresource, cancellationToken));

    public async Task<JsonObject> PatchAsync(ObjectKey key, JsonObject mergePatch, CancellationToken cancellationToken, string subresource = "") =>
        Parse(await writer.PatchAsync(key, mergePatch, subresource, cancellationToken));

    public async Task<bool> DeleteAsync(ObjectKey key, DeleteOptions options, CancellationToken cancellationToken) =>
        await writer.DeleteAsync(key, options, cancellationToken) is not null;

    /// <summary>All pages of a list. The revision is the first page's: following changes from there misses none.</summary>
    internal static async Task<(long Revision, List<byte[]> Objects)> ReadAllAsync(
        IResourceReaderGrain reader, ListQuery query, int pageSize, CancellationToken cancellationToken)
    {
        long? revision = null;
        var objects = new List<byte[]>();
        string? after = null;
        do
        {
            var page = await reader.ListAsync(query with { Limit = pageSize, After = after }, cancellationToken);
            revision ??= page.Revision;
            objects.AddRange(page.Objects);
            after = page.Next;
        }
        while (after is not null);
        return (revision.Value, objects);
    }

    private static JsonObject Parse(ObjectReply reply) => CanonicalJson.Parse(reply.Object);

    private IResourceReaderGrain Reader(string resource) => grains.GetGrain<IResourceReaderGrain>(registry.Get(resource).Resource);

    /// <summary>An object as a grain sent it; what selectors need is read when asked for.</summary>
    private sealed class ReadObject : ICachedObject
    {
        private readonly ResourceDefinition _definition;
        private readonly byte[] _bytes;
        private readonly JsonObject _json;

        public ReadObject(ResourceDefinition definition, byte[] bytes)
        {
            _definition = definition;
            _bytes = bytes;
            _json = CanonicalJson.Parse(bytes);
            var metadata = _json["metadata"] as JsonObject ?? [];
            Key = definition.Key((string?)metadata["namespace"] ?? "", (string?)metadata["name"] ?? "");
            Revision = long.TryParse((string?)metadata["resourceVersion"], System.Globalization.CultureInfo.InvariantCulture, out var revision) ? revision : 0;
            Uid = (string?)metadata["uid"] ?? "";
            IsDeleting = metadata["deletionTimestamp"] is not null;
            Labels = [.. (metadata["labels"] as JsonObject ?? []).Select(l => new KeyValuePair<string, string>(l.Key, (string?)l.Value ?? ""))];
            ControllerUid = (string?)(metadata["ownerReferences"] as JsonArray)?.FirstOrDefault(o => (bool?)o?["controller"] == true)?["uid"];
        }

        public ObjectKey Key { get; }

        public long Revision { get; }

        public ReadOnlyMemory<byte> Bytes => _bytes;

        public ReadOnlyMemory<byte> ItemBytes => _bytes.AsMemory(CanonicalJson.ItemStart(_bytes));

        public IReadOnlyList<KeyValuePair<string, string>> Labels { get; }

        public string Uid { get; }

        public string? ControllerUid { get; }

        public bool IsDeleting { get; }

        public string? Field(string label)
        {
            if (label == "metadata.name")
                return Key.Name;
            if (label == "metadata.namespace")
                return Key.Namespace;
            foreach (var field in _definition.Strategy.SelectableFields)
            {
                if (field.Label != label)
                    continue;
                foreach (var path in field.Members)
                {
                    JsonNode? node = _json;
                    foreach (var member in path)
                        node = (node as JsonObject)?[member];
                    if (node is JsonValue value && value.ToString() is { Length: > 0 } text)
                        return text;
                }
                return "";
            }
            return null;
        }
    }

    private sealed class ReadSnapshot(long revision, IReadOnlyList<ICachedObject> objects) : ICacheSnapshot
    {
        private readonly Dictionary<(string, string), ICachedObject> _byName = objects.ToDictionary(o => (o.Key.Namespace, o.Key.Name));

        public long Revision { get; } = revision;

        public int Count => objects.Count;

        public ICachedObject? Find(string @namespace, string name) => _byName.GetValueOrDefault((@namespace, name));

        public IEnumerable<ICachedObject> Enumerate(string? @namespace = null, string? afterStorageKey = null)
        {
            var passed = afterStorageKey is null;
            foreach (var obj in objects)
            {
                if (!passed)
                {
                    passed = string.CompareOrdinal(obj.Key.StorageKey, afterStorageKey) > 0;
                    if (!passed)
                        continue;
                }
                if (@namespace is null || obj.Key.Namespace == @namespace)
                    yield return obj;
            }
        }
    }
}
