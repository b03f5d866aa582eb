using System.Runtime.CompilerServices;
using System.Text.Json;
using OrleansCluster.Api;
using OrleansCluster.ControlPlane.Objects;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Controllers;

/// <summary>One entry of `metadata.ownerReferences`.</summary>
internal sealed record OwnerReference(string ApiVersion, string Kind, string Name, string Uid, bool BlocksOwnerDeletion)
{
    private static readonly ConditionalWeakTable<ICachedObject, IReadOnlyList<OwnerReference>> Known = [];

    /// <summary>Reads the references, once per version; most objects have none, which a byte search tells without parsing.</summary>
    public static IReadOnlyList<OwnerReference> Of(ICachedObject obj) =>
        obj.Bytes.Span.IndexOf("\"ownerReferences\""u8) < 0 ? [] : Known.GetValue(obj, static o => Read(o.Bytes.Span));

    // Metadata stands at the head of an object, so the rest of it is not looked at.
    private static List<OwnerReference> Read(ReadOnlySpan<byte> bytes)
    {
        var list = new List<OwnerReference>();
        var reader = new Utf8JsonReader(bytes);
        reader.Read();
        if (!MoveTo(ref reader, "metadata"u8) || !MoveTo(ref reader, "ownerReferences"u8) || reader.TokenType != JsonTokenType.StartArray)
            return list;
        using var document = JsonDocument.ParseValue(ref reader);
        foreach (var reference in document.RootElement.EnumerateArray())
        {
            list.Add(new OwnerReference(
                reference.Text("apiVersion"), reference.Text("kind"), reference.Text("name"), reference.Text("uid"),
                reference.TryGetProperty("blockOwnerDeletion", out var blocks) && blocks.ValueKind == JsonValueKind.True));
        }
        return list;
    }

    // The reader stands on the opening of an object; afterwards on the value of the member, or at the object's end.
    private static bool MoveTo(ref Utf8JsonReader reader, ReadOnlySpan<byte> member)
    {
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var found = reader.ValueTextEquals(member);
            reader.Read();
            if (found)
                return true;
            reader.Skip();
        }
        return false;
    }
}

/// <summary>
/// Which objects name an owner, over all resources of this process: about a hundred bytes per owned object. Filled by the caches' own loops;
/// reads see whole batches.
/// </summary>
public sealed class OwnerIndex : IDisposable
{
    private readonly Lock _gate = new();
    private readonly Dictionary<string, HashSet<ObjectKey>> _dependents = new(StringComparer.Ordinal);
    private readonly List<(IResourceCache Cache, IndexProgress Progress, IDisposable Subscription)> _sources = [];

    /// <summary>Makes the index; it follows every resource that can be deleted.</summary>
    public OwnerIndex(ResourceRegistry registry, IResourceCaches caches)
    {
        foreach (var definition in registry.All.Where(d => d.Verbs.Contains("delete") && d.TimeToLive is null))
        {
            var cache = caches.Get(definition.Resource);
            var progress = new IndexProgress();
            _sources.Add((cache, progress, cache.Subscribe((changes, whole) => Apply(cache, progress, changes, whole))));
        }
    }

    /// <summary>Waits until the index has everything that was committed before the call.</summary>
    public async ValueTask CatchUpAsync(CancellationToken cancellationToken)
    {
        foreach (var (cache, progress, _) in _sources)
            await progress.WaitForAsync((await cache.GetLatestAsync(cancellationToken)).Revision, cancellationToken);
    }

    /// <summary>Keys of the objects that name an owner.</summary>
    public IReadOnlyList<ObjectKey> Dependents(string ownerUid)
    {
        lock (_gate)
            return _dependents.TryGetValue(ownerUid, out var keys) ? [.. keys] : [];
    }

    /// <summary>
    /// Adds an object before its cache's loop has: whoever maps its change must not be ahead of the index, or an owner that goes at this very moment
    /// leaves it behind.
    /// </summary>
    internal void Note(ICachedObject obj)
    {
        if (OwnerReference.Of(obj).Count == 0)
            return;
        lock (_gate)
            Add(obj);
    }

    /// <summary>Takes back what <see cref="Note"/> may have added after the cache's loop removed it.</summary>
    internal void Forget(ICachedObject obj)
    {
        if (OwnerReference.Of(obj).Count == 0)
            return;
        lock (_gate)
            Remove(obj);
    }

    /// <inheritdoc/>
    public void Dispose() => _sources.ForEach(s => s.Subscription.Dispose());

    private void Apply(IResourceCache cache, IndexProgress progress, IReadOnlyList<CacheChange> changes, bool whole)
    {
        var snapshot = whole ? cache.Current : null;
        lock (_gate)
        {
            // After a refill, entries of objects that went unseen stay; whoever follows them finds nothing there.
            foreach (var obj in snapshot?.Enumerate() ?? [])
                Add(obj);
            foreach (var change in changes)
            {
                if (change.Previous is not null || change.Type == ChangeType.Deleted)
                    Remove(change.Previous ?? change.Object);
                if (change.Type != ChangeType.Deleted)
                    Add(change.Object);
            }
        }
        progress.Advance(changes.Count > 0 ? changes[^1].Revision : snapshot?.Revision ?? 0);
    }

    // Caller holds _gate.
    private void Add(ICachedObject obj)
    {
        foreach (var owner in OwnerReference.Of(obj))
        {
            if (!_dependents.TryGetValue(owner.Uid, out var keys))
                _dependents.Add(owner.Uid, keys = []);
            keys.Add(obj.Key);
        }
    }

    // Caller holds _gate.
    private void Remove(ICachedObject obj)
    {
        foreach (var owner in OwnerReference.Of(obj))
        {
            if (_dependents.TryGetValue(owner.Uid, out var keys) && keys.Remove(obj.Key) && keys.Count == 0)
                _dependents.Remove(owner.Uid);
        }
    }
}
