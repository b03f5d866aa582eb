using Microsoft.Extensions.Logging;

namespace OrleansCluster.Storage;

/// <summary>
/// The housekeeping loop of a store. It keeps the change logs within <see cref="CompactionOptions"/> and looks at the queues for the metrics. Every
/// process does this for the resources it uses; compaction is idempotent and done in short pieces, so they need no agreement. The log carries no time: at
/// every look the loop notes time, revision and bytes written so far, and the notes tell which revision was the newest at a given age and which
/// starts the last N bytes.
/// </summary>
internal sealed class RedisCompactor(RedisObjectStore store, RedisMetrics metrics, CompactionOptions options, TimeProvider time, Random random, ILogger logger)
{
    private readonly Dictionary<string, List<Note>> _notes = new(StringComparer.Ordinal);

    public async Task RunAsync(CancellationToken cancellationToken)
    {
        try
        {
            while (true)
            {
                // Spread, so that many processes do not look at the same moment.
                await Task.Delay(options.Interval * (0.75 + (random.NextDouble() / 2)), time, cancellationToken);
                foreach (var resource in store.UsedResources)
                    await LookAsync(resource, cancellationToken);
            }
        }
        catch (OperationCanceledException)
        {
            // The store is closing.
        }
    }

    private async Task LookAsync(RedisResource target, CancellationToken cancellationToken)
    {
        var resource = target.Name;
        try
        {
            foreach (var queue in target.QueueNames)
                metrics.QueueSeen(resource, queue, await store.GetQueueStatisticsAsync(resource, queue, cancellationToken));
            var (revision, compacted, bytes, swept) = await store.GetStateAsync(resource, cancellationToken);
            var through = ThroughRevision(resource, new Note(time.GetUtcNow(), revision, bytes), compacted);
            // What a new epoch or a process that died has left undone is finished, too.
            if (through > compacted || swept < compacted)
                await store.CompactAsync(resource, Math.Max(through, compacted), cancellationToken);
        }
        catch (Exception e) when (e is StoreUnavailableException or ObjectDisposedException)
        {
            RedisObjectStore.Log.CompactionFailed(logger, e, resource, options.Interval);
        }
    }

    private long ThroughRevision(string resource, Note current, long compacted)
    {
        if (!_notes.TryGetValue(resource, out var notes))
            _notes[resource] = notes = [];
        var lastNoted = notes.Count == 0 ? 0 : notes[^1].Revision;
        if (current.Revision > compacted && current.Revision != lastNoted)
            notes.Add(current);

        // Of the notes past the age only the newest says anything that the others do not.
        var expired = notes.FindLastIndex(n => current.At - n.At >= options.KeepFor);
        var old = expired < 0 ? 0 : notes[expired].Revision;
        if (expired > 0)
            notes.RemoveRange(0, expired);
        var beyondBytes = notes.FindLast(n => current.Bytes - n.Bytes >= options.KeepAtMostBytes).Revision;

        var through = Math.Min(old, current.Revision - options.KeepAtLeast);
        through = Math.Max(through, current.Revision - options.KeepAtMost);
        through = Math.Max(through, beyondBytes);
        notes.RemoveAll(n => n.Revision <= Math.Max(through, compacted));
        return through;
    }

    private readonly record struct Note(DateTimeOffset At, long Revision, long Bytes);
}
