using OrleansCluster.Faults.Histories;

namespace OrleansCluster.Faults.Checking;

/// <summary>
/// Finds for every change the operation that made it, and checks that the change is that operation applied to the state before it: no update lost,
/// nothing invented, nothing done twice, no refused operation done after all, no conditional write over another predecessor.
/// </summary>
internal sealed class Attribution(ResourceLog log, History history, bool mayLose, Verdict verdict)
{
    private readonly Dictionary<int, Entry> _used = [];
    private ILookup<string, Operation> _writes = Enumerable.Empty<Operation>().ToLookup(o => o.Key, StringComparer.Ordinal);

    public void Run()
    {
        _writes = log.Operations.Where(o => o.IsWrite).ToLookup(o => o.Key, StringComparer.Ordinal);
        foreach (var chain in log.Keys.Values.ToList())
        {
            for (var i = 0; i < chain.Count; i++)
                Explain(chain, ref i);
        }
        FindRevisionsGivenTwice();
        foreach (var entry in log.Entries.Where(e => e is { Acknowledged: true, Observed: false }))
        {
            if (log.Coverage.Covers(entry.Revision - 1, entry.Revision))
                verdict.Add(Rule.LostWrite, $"{log.Resource}: {entry} was acknowledged and no watch that went past it has it: {entry.Writer}");
        }
        foreach (var delete in log.Operations.Where(o => o is { Verb: Verb.Delete, Outcome: Outcome.Ok } && history.IsOwned(o.Resource, o.Key)))
        {
            // A life that nobody saw any of leaves nothing to compare with.
            if (!_used.ContainsKey(delete.Id) && !mayLose && log.Keys.GetValueOrDefault(delete.Key)?.Exists(e => e.Uid == delete.DeletedUid) == true)
                verdict.Add(Rule.LostWrite, $"acknowledged, and no removal is known: {delete}");
        }
    }

    /// <summary>
    /// The answer to a write that had to look whether it had gone through may show a later state than its own; every other answer has a revision of its own.
    /// </summary>
    private void FindRevisionsGivenTwice()
    {
        var own = log.Operations.Where(o => o is { IsWrite: true, Outcome: Outcome.Ok, Answer: not null } && o.Verb != Verb.Delete && !IsLate(o));
        foreach (var same in own.GroupBy(o => o.Answer!.Revision).Where(g => g.Count() > 1))
            verdict.Add(Rule.RevisionTwice, $"{string.Join(" and ", same)} were both acknowledged with revision {same.Key}");
        foreach (var write in own.Where(o => !_used.ContainsKey(o.Id) && log.Find(2 * o.Answer!.Revision) is { Writer: not null } entry && entry.Writer != o))
            verdict.Add(Rule.LostWrite, $"acknowledged with the revision of another change, and no change is its own: {write}");
    }

    private bool IsLate(Operation write) => _used.TryGetValue(write.Id, out var made) && made.Revision < write.Answer!.Revision;

    private void Explain(List<Entry> chain, ref int i)
    {
        var entry = chain[i];
        var before = i == 0 ? null : chain[i - 1];
        if (entry.Version is null)
        {
            ExplainRemoval(entry);
            return;
        }
        var answered = _writes[entry.Key].Where(o => o is { Outcome: Outcome.Ok } && o.Verb != Verb.Delete && o.Answer?.Revision == entry.Revision && !_used.ContainsKey(o.Id)).ToList();
        if (answered.Find(o => Fits(o, before, entry)) is { } writer)
            Mark(entry, writer);
        else if (FindByEffect(before, entry) is { } other)
            Mark(entry, other);
        else if ((answered.Count == 0 && IsUnchanged(before, entry)) || FollowsOnUndone(chain, ref i, entry, answered))
            return;
        else if (answered.Count == 0)
            Unexplained(before, entry);
        else
            Report(answered[0], before, entry);
    }

    /// <summary>A write whose answer was lost, or came only after other writes, and which had this effect.</summary>
    private Operation? FindByEffect(Entry? before, Entry entry) => IsUnchanged(before, entry)
        ? null
        : _writes[entry.Key].FirstOrDefault(o => !_used.ContainsKey(o.Id) && o.Verb != Verb.Delete && o.Outcome != Outcome.Failed
            && (o.Outcome == Outcome.Unknown || o.Answer?.Revision > entry.Revision) && Fits(o, before, entry));

    /// <summary>The first change of an epoch may follow on changes that the change of epoch has undone.</summary>
    private bool FollowsOnUndone(List<Entry> chain, ref int i, Entry entry, List<Operation> answered)
    {
        for (var k = i - 1; k >= 0 && log.EpochOf(chain[k].Revision) < log.EpochOf(entry.Revision) && (mayLose || !log.IsAcknowledged(chain[k])); k--)
        {
            var before = k == 0 ? null : chain[k - 1];
            var writer = answered.Find(o => Fits(o, before, entry)) ?? FindByEffect(before, entry);
            if (writer is null && !IsUnchanged(before, entry))
                continue;
            foreach (var undone in chain.GetRange(k, i - k))
                log.Undo(undone, mayLose);
            i = k;
            if (writer is not null)
                Mark(entry, writer);
            return true;
        }
        return false;
    }

    /// <summary>Changed by the cluster itself: what the workload writes stays as it is.</summary>
    private bool IsUnchanged(Entry? before, Entry entry) =>
        !history.IsOwned(log.Resource, entry.Key) && (before?.Version is null || entry.Fields!.Equals(before.Fields) || !IsComplete(before, entry));

    private void Unexplained(Entry? before, Entry entry)
    {
        var candidates = _writes[entry.Key].Where(o => o.Outcome != Outcome.Ok && o.Verb != Verb.Delete && Fits(o, before, entry)).ToList();
        if (candidates.Find(o => o.Outcome == Outcome.Unknown) is { } twice)
            verdict.Add(Rule.Unexplained, $"{log.Resource}: {entry} is a second effect of {twice}");
        else if (candidates.Find(o => o.Outcome == Outcome.Failed) is { } refused)
            verdict.Add(Rule.Unexplained, $"{log.Resource}: {entry} is the effect of a refused operation: {refused}");
        else
            verdict.Add(Rule.Unexplained, $"{log.Resource}: nobody asked for {entry} after {before}");
    }

    private void ExplainRemoval(Entry entry)
    {
        if (!history.IsOwned(log.Resource, entry.Key))
            return;
        var deletes = _writes[entry.Key].Where(o => o.Verb == Verb.Delete && (o.DeletedUid is null || o.DeletedUid == entry.Uid) && !_used.ContainsKey(o.Id)).ToList();
        var writer = deletes.Find(o => o.Outcome == Outcome.Ok) ?? deletes.Find(o => o.Outcome == Outcome.Unknown);
        if (writer is not null)
            Mark(entry, writer);
        else
            verdict.Add(Rule.LostWrite, $"{log.Resource}: {entry} of uid {entry.Uid} is gone and nobody deleted it");
    }

    private bool Fits(Operation writer, Entry? before, Entry entry)
    {
        if (writer.Change!.TryApply(before?.Fields, out var after) && entry.Fields!.Equals(after))
            return writer.ExpectedRevision is not { } expected || before?.Revision == expected || !IsComplete(before, entry);
        // With changes in between that nobody saw, only what the write itself set can be checked.
        return !IsComplete(before, entry) && writer.Change.Set.All(p => entry.Fields!.Values.GetValueOrDefault(p.Key) == p.Value);
    }

    private void Report(Operation writer, Entry? before, Entry entry)
    {
        Mark(entry, writer);
        if (writer.ExpectedRevision is { } expected && before?.Revision != expected)
            verdict.Add(Rule.Condition, $"{writer} went through over {before}");
        else
            verdict.Add(Rule.WrongEffect, $"{log.Resource}: {entry} is not {before?.ToString() ?? "nothing"} after {writer}");
    }

    private bool IsComplete(Entry? before, Entry entry) => log.Coverage.Covers(before?.Revision ?? 0, entry.Revision);

    private void Mark(Entry entry, Operation writer)
    {
        entry.Writer = writer;
        _used[writer.Id] = entry;
    }
}
