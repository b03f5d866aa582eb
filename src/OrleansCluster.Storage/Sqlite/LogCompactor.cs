using Microsoft.Extensions.Logging;

namespace OrleansCluster.Storage;

/// <summary>Keeps the change logs of the embedded store within <see cref="CompactionOptions"/>.</summary>
internal sealed class LogCompactor(SqliteObjectStore store, SqliteResources resources, CompactionOptions options, TimeProvider time, ILogger logger)
{
    private readonly Dictionary<ResourceState, CompactionNotes> _notes = [];

    public async Task RunAsync(CancellationToken cancellationToken)
    {
        using var timer = new PeriodicTimer(options.Interval, time);
        try
        {
            while (await timer.WaitForNextTickAsync(cancellationToken))
            {
                try
                {
                    await CompactAllAsync(cancellationToken);
                }
                catch (StoreUnavailableException e)
                {
                    SqliteObjectStore.Log.CompactionFailed(logger, e, options.Interval);
                }
            }
        }
        catch (OperationCanceledException)
        {
            // The store is closing.
        }
    }

    private async Task CompactAllAsync(CancellationToken cancellationToken)
    {
        foreach (var state in resources.All)
        {
            var through = ThroughRevision(state);
            if (through > 0)
                await store.CompactAsync(state.Name, through, cancellationToken);
        }
        if (resources.HasAcknowledged)
            await store.FlushAsync(cancellationToken);
    }

    private long ThroughRevision(ResourceState state)
    {
        if (!_notes.TryGetValue(state, out var notes))
            _notes[state] = notes = new CompactionNotes(options);
        long revision, bytes, compacted;
        lock (state.Gate)
            (revision, bytes, compacted) = (state.Revision, state.BytesWritten, state.Compacted);
        return notes.Look(time.GetUtcNow(), revision, bytes, compacted);
    }
}
