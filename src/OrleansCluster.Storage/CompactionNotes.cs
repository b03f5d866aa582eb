namespace OrleansCluster.Storage;

/// <summary>
/// What a store's housekeeping has noted of one change log, and how far <see cref="CompactionOptions"/> let it be compacted by that. Entries carry no time:
/// the notes tell which revision was the newest at a given age, and which starts the last N bytes.
/// </summary>
internal sealed class CompactionNotes(CompactionOptions options)
{
    private readonly List<Note> _notes = [];

    /// <summary>Takes a look at the log and says through which revision it may go.</summary>
    /// <param name="now">When the look was taken.</param>
    /// <param name="revision">The newest revision.</param>
    /// <param name="bytes">Bytes ever appended.</param>
    /// <param name="compacted">How far the log is compacted.</param>
    public long Look(DateTimeOffset now, long revision, long bytes, long compacted)
    {
        var lastNoted = _notes.Count == 0 ? 0 : _notes[^1].Revision;
        if (revision > compacted && revision != lastNoted)
            _notes.Add(new Note(now, revision, bytes));

        // Of the notes past the age only the newest says anything that the others do not.
        var expired = _notes.FindLastIndex(n => now - n.At >= options.KeepFor);
        var old = expired < 0 ? 0 : _notes[expired].Revision;
        if (expired > 0)
            _notes.RemoveRange(0, expired);
        var beyondBytes = _notes.FindLast(n => bytes - n.Bytes >= options.KeepAtMostBytes).Revision;

        var through = Math.Min(old, revision - options.KeepAtLeast);
        through = Math.Max(through, revision - options.KeepAtMost);
        through = Math.Max(through, beyondBytes);
        _notes.RemoveAll(n => n.Revision <= Math.Max(through, compacted));
        return through;
    }

    private readonly record struct Note(DateTimeOffset At, long Revision, long Bytes);
}
