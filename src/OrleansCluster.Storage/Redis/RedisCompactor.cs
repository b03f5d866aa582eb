using Microsoft.Extensions.Logging;

namespace OrleansCluster.Storage;

/// <summary>
/// The housekeeping loop of a store. It keeps the change logs within <see cref="CompactionOptions"/> and looks at the queues for the metrics. Every
/// process does this for the resources it uses; compaction is idempotent and done in short pieces, so they need no agreement.
/// </summary>
internal sealed class RedisCompactor(RedisObjectStore store, RedisMetrics metrics, CompactionOptions options, TimeProvider time, Random random, ILogger logger)
{
    private readonly Dictionary<string, CompactionNotes> _notes = new(StringComparer.Ordinal);

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
            if (!_notes.TryGetValue(resource, out var notes))
                _notes[resource] = notes = new CompactionNotes(options);
            var through = notes.Look(time.GetUtcNow(), revision, bytes, compacted);
            // What a new epoch or a process that died has left undone is finished, too.
            if (through > compacted || swept < compacted)
                await store.CompactAsync(resource, Math.Max(through, compacted), cancellationToken);
        }
        catch (Exception e) when (e is StoreUnavailableException or ObjectDisposedException)
        {
            RedisObjectStore.Log.CompactionFailed(logger, e, resource, options.Interval);
        }
    }
}
