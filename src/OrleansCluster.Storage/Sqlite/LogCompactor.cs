using Microsoft.Extensions.Logging;

namespace OrleansCluster.Storage;

/// <summary>
/// Keeps the change logs within <see cref="CompactionOptions"/>. Rows carry no time; at every look the loop notes time, revision and bytes written so
/// far of each resource, and the notes tell which revision was the newest at a given age and which starts the last N bytes.
/// </summary>
internal sealed class LogCompactor(SqliteObjectStore store, SqliteResources resources, CompactionOptions options, TimeProvider time, ILogger logger)
{
    private readonly Dictionary<ResourceState, List<Note>> _notes = [];

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
        var now = time.GetUtcNow();
        Note current;
        long compacted;
        lock (state.Gate)
        {
            current = new Note(now, state.Revision, state.BytesWritten);
            compacted = state.Compacted;
        }
        if (!_notes.TryGetValue(state, out var notes))
            _notes[state] = notes = [];
        var lastNoted = notes.Count == 0 ? 0 : notes[^1].Revision;
        if (current.Revision > compacted && current.Revision != lastNoted)
            notes.Add(current);

        // Of the notes past the age only the newest says anything that the others do not.
        var expired = notes.FindLastIndex(n => now - n.At >= options.KeepFor);
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
