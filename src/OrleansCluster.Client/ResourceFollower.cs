using System.Text.Json;
using k8s;

namespace OrleansCluster.Client;

/// <summary>
/// Follows a resource through its reader grain. States:
/// <code>
///   start ──list──► following ──page──► following
///                     │  └─ Expired ──► relist: difference to what is known ──► following
///                     └─ call failed ──► wait, jittered, at most 2 s ──► following, from the same revision
/// </code>
/// What it has told (uid, revision and last bytes per object) is kept, so that a relist can tell what vanished meanwhile: one copy of every object
/// watched. One reader at a time.
/// </summary>
internal sealed class ResourceFollower(IResourceReaderGrain reader, ListQuery query, TimeProvider time)
{
    /// <summary>How long a silo holds one question open; well below the response time-out.</summary>
    private static readonly TimeSpan Wait = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan FirstDelay = TimeSpan.FromMilliseconds(50);
    private static readonly TimeSpan MaxDelay = TimeSpan.FromSeconds(2);
    private const int PageSize = 500;

    private readonly Dictionary<string, byte[]> _known = new(StringComparer.Ordinal);
    private long _revision = -1;

    /// <summary>The next changes; waits for the first.</summary>
    public async Task<IReadOnlyList<(WatchEventType Type, byte[] Object)>> ReadAsync(CancellationToken cancellationToken)
    {
        var delay = FirstDelay;
        while (true)
        {
            cancellationToken.ThrowIfCancellationRequested();
            try
            {
                if (_revision < 0)
                {
                    var difference = await ListAsync(cancellationToken);
                    if (difference.Count > 0)
                        return difference;
                    continue;
                }
                var page = await reader.ReadChangesAsync(query, _revision, Wait, cancellationToken);
                if (page.Expired)
                {
                    _revision = -1;
                    continue;
                }
                _revision = page.Revision;
                if (page.Changes.Length > 0)
                    return [.. page.Changes.Select(Apply)];
                delay = FirstDelay;
            }
            catch (Exception error) when (GrainCalls.IsUnavailable(error))
            {
                // Reads may be repeated at will; another silo answers, or this one when it is back.
                await Task.Delay(delay * (0.5 + (Random.Shared.NextDouble() / 2)), time, cancellationToken);
                delay = delay * 2 < MaxDelay ? delay * 2 : MaxDelay;
            }
        }
    }

    /// <summary>All there is, as the difference to what was told before, which at the start is nothing. The next <see cref="ReadAsync"/> continues from it.</summary>
    public async Task<List<(WatchEventType Type, byte[] Object)>> ListAsync(CancellationToken cancellationToken)
    {
        var (revision, objects) = await GrainObjectClient.ReadAllAsync(reader, query, PageSize, cancellationToken);
        var events = new List<(WatchEventType, byte[])>();
        var present = new HashSet<string>(StringComparer.Ordinal);
        foreach (var bytes in objects)
        {
            var uid = ReadUid(bytes);
            present.Add(uid);
            if (!_known.TryGetValue(uid, out var old))
                events.Add((WatchEventType.Added, bytes));
            else if (!old.AsSpan().SequenceEqual(bytes))
                events.Add((WatchEventType.Modified, bytes));
        }
        // What vanished comes first: a name may have been taken again by another object.
        events.InsertRange(0, _known.Where(k => !present.Contains(k.Key)).Select(k => (WatchEventType.Deleted, k.Value)));
        _known.Clear();
        foreach (var bytes in objects)
            _known[ReadUid(bytes)] = bytes;
        _revision = revision;
        return events;
    }

    private (WatchEventType Type, byte[] Object) Apply(ObjectChange change)
    {
        var uid = ReadUid(change.Object);
        if (change.Type == "DELETED")
        {
            _known.Remove(uid);
            return (WatchEventType.Deleted, change.Object);
        }
        // A list of several pages may already have told a change that follows its first page's revision.
        var type = _known.ContainsKey(uid) ? WatchEventType.Modified : WatchEventType.Added;
        _known[uid] = change.Object;
        return (type, change.Object);
    }

    private static string ReadUid(byte[] bytes)
    {
        var reader = new Utf8JsonReader(bytes);
        while (reader.Read())
        {
            if (reader.TokenType != JsonTokenType.PropertyName || reader.CurrentDepth > 2)
                continue;
            if (reader.CurrentDepth == 1 && reader.ValueTextEquals("metadata"u8))
                continue;
            if (reader.CurrentDepth == 2 && reader.ValueTextEquals("uid"u8) && reader.Read())
                return reader.GetString() ?? "";
            reader.Read();
            if (reader.CurrentDepth >= 1 && reader.TokenType is JsonTokenType.StartObject or JsonTokenType.StartArray)
                reader.Skip();
        }
        return "";
    }
}
