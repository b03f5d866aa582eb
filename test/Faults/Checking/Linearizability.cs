using OrleansCluster.Faults.Histories;

namespace OrleansCluster.Faults.Checking;

/// <summary>
/// Real time against revision order. The revision is the witness: it says in which order writes took place, so that no search is needed. Every
/// operation has a window of states, from the newest that somebody had certainly seen before it began to the newest that can have begun before it
/// ended, and what it was answered must be one of them.
/// </summary>
internal sealed class Linearizability(ResourceLog log, Verdict verdict)
{
    // Ascending in time, with the highest position known at that time.
    private readonly List<(long Time, long Position)> _known = [];
    private readonly List<(long Time, long Position)> _found = [];
    private readonly Dictionary<string, Entry> _removals = new(StringComparer.Ordinal);

    public void Run()
    {
        BoundStarts();
        CollectKnown();
        foreach (var entry in log.Entries.Where(e => e.Version is null))
            _removals[entry.Uid] = entry;
        foreach (var operation in log.Operations.Where(o => o.Outcome != Outcome.Unknown))
        {
            if (operation is { Verb: Verb.List, Outcome: Outcome.Ok })
                CheckList(operation);
            else if (operation is { IsWrite: true, Outcome: Outcome.Failed })
                CheckRefusal(operation);
            else if (operation is { Verb: Verb.Get, Outcome: Outcome.Ok })
                CheckRead(operation);
            else if (operation is { IsWrite: true, Outcome: Outcome.Ok })
                CheckWrite(operation);
        }
    }

    /// <summary>No change can have begun before one with a lower revision.</summary>
    private void BoundStarts()
    {
        var start = long.MinValue;
        foreach (var entry in log.Entries)
            entry.Start = start = Math.Max(start, entry.Writer?.Invoked ?? long.MinValue);
        foreach (var chain in log.Keys.Values)
        {
            for (var i = 0; i < chain.Count; i++)
            {
                if (chain[i].Inferred)
                    chain[i].Start = Math.Max(i == 0 ? long.MinValue : chain[i - 1].Start, chain[i].Writer?.Invoked ?? long.MinValue);
            }
        }
    }

    private void CollectKnown()
    {
        IEnumerable<(long Time, long Position)> all =
        [
            .. log.Operations.Where(o => o is { Outcome: Outcome.Ok, Answer: not null } && o.Verb != Verb.Delete).Select(o => (o.Completed, 2 * o.Answer!.Revision)),
            .. log.Lists.Select(o => (o.Completed, 2 * o.ListRevision)),
            .. log.Entries.Where(e => e is { Version: null, Inferred: false, Writer.Outcome: Outcome.Ok }).Select(e => (e.Writer!.Completed, e.Position)),
            .. log.Observers.SelectMany(o => o.Steps).Where(s => s.Stream is not null).SelectMany(s => s.Stream!.Events).Select(e => (e.At, 2 * e.Revision)),
        ];
        foreach (var (time, position) in all.OrderBy(k => k.Time))
            Raise(_known, time, position);
    }

    private static void Raise(List<(long Time, long Position)> known, long time, long position)
    {
        if (known.Count == 0 || position > known[^1].Position)
            known.Add((time, position));
    }

    /// <summary>The highest position that was certainly reached before a moment.</summary>
    private long Floor(long time) => Math.Max(Floor(_known, time), Floor(_found, time));

    private static long Floor(List<(long Time, long Position)> known, long time)
    {
        int low = 0, high = known.Count;
        while (low < high)
        {
            var middle = (low + high) / 2;
            if (known[middle].Time < time)
                low = middle + 1;
            else
                high = middle;
        }
        return low == 0 ? -1 : known[low - 1].Position;
    }

    /// <summary>The states an operation can have met, oldest first; null stands for "never existed".</summary>
    private IEnumerable<Entry?> Window(Operation operation)
    {
        var floor = Floor(operation.Invoked);
        var chain = log.Keys.GetValueOrDefault(operation.Key) ?? [];
        var low = chain.FindLastIndex(e => e.Sure <= floor || (e is { Inferred: true, Acknowledged: true } && e.Writer!.Completed < operation.Invoked));
        if (low < 0)
            yield return null;
        for (var i = Math.Max(low, 0); i < chain.Count && (i == low || chain[i].Start <= operation.Completed); i++)
            yield return chain[i];
    }

    private bool Meets(Operation operation, Func<Entry?, bool> state)
    {
        foreach (var entry in Window(operation))
        {
            if (!state(entry))
                continue;
            // Whoever comes after this operation finds this state or a later one.
            Raise(_found, operation.Completed, entry?.Least ?? -1);
            return true;
        }
        // What was seen before a failover undid it is in no window any more.
        return log.Undone.Exists(e => e.Key == operation.Key && state(e));
    }

    private void CheckRead(Operation read)
    {
        if (read.AnyState)
        {
            var entry = log.Keys.GetValueOrDefault(read.Key)?.Find(e => e.Version is not null && e.Revision == read.Answer?.Revision);
            if (entry is not null && entry.Start > read.Completed)
                verdict.Add(Rule.Linearizability, $"{read} shows what was asked for only later: {entry.Writer}");
            return;
        }
        var ok = read.Answer is { } seen
            ? Meets(read, e => e?.Version is not null && e.Revision == seen.Revision)
            : Meets(read, e => e?.Version is null);
        if (!ok)
            verdict.Add(Rule.Linearizability, $"{read} was answered with no state of its time; possible were {Describe(read)}");
    }

    private void CheckList(Operation list)
    {
        if (!list.AnyState && 2 * list.ListRevision < Floor(list.Invoked))
            verdict.Add(Rule.Linearizability, $"{list} is older than revision {Floor(list.Invoked) / 2}, which was known before it was asked for");
        foreach (var item in list.Items)
        {
            if (log.Keys[item.Key].Find(e => e.Revision == item.Revision) is { } entry && entry.Start > list.Completed)
                verdict.Add(Rule.Linearizability, $"{list} shows what was asked for only later: {entry.Writer}");
        }
    }

    private void CheckWrite(Operation write)
    {
        long? position = write.Verb == Verb.Delete
            ? write.DeletedUid is { } uid && _removals.TryGetValue(uid, out var removal) && removal.Writer == write ? removal.Position : null
            : 2 * write.Answer?.Revision;
        if (position is not { } p)
            return;
        if (log.Find(p) is { } entry && entry.Start > write.Completed)
            verdict.Add(Rule.Linearizability, $"{write} was acknowledged with a revision above that of a change that was asked for only later");
        if (p <= Floor(write.Invoked))
            verdict.Add(Rule.Linearizability, $"{write} has a revision that others had already seen or passed before it began: {Floor(write.Invoked) / 2}");
    }

    /// <summary>A refusal tells a state too: there, not there, or another revision.</summary>
    private void CheckRefusal(Operation write)
    {
        var ok = (write.Code, write.Reason) switch
        {
            (404, _) => Meets(write, e => e?.Version is null),
            (409, "AlreadyExists") => Meets(write, e => e?.Version is not null),
            (409, "Conflict") when write.ExpectedRevision is { } expected => Meets(write, e => e?.Version is null || e.Revision != expected),
            _ => true,
        };
        if (!ok)
            verdict.Add(Rule.Linearizability, $"{write} was refused for a reason that never was; possible were {Describe(write)}");
    }

    private string Describe(Operation operation) => string.Join("; ", Window(operation).Select(e => e?.ToString() ?? "nothing"));
}
