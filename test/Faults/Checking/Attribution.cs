using OrleansCluster.Faults.Histories;

namespace OrleansCluster.Faults.Checking;

/// <summary>
/// Finds for every change the operation that made it, and checks that the change is that operation applied to the state before it: no update lost,
/// nothing invented, nothing done twice, no refused operation done after all, no conditional write over another predecessor.
/// </summary>
internal sealed class Attribution(ResourceLog log, History history, bool mayLose, Verdict verdict)
{
    private readonly HashSet<int> _used = [];
    private ILookup<string, Operation> _writes = Enumerable.Empty<Operation>().ToLookup(o => o.Key, StringComparer.Ordinal);

    public void Run()
    {
        _writes = log.Operations.Where(o => o.IsWrite).ToLookup(o => o.Key, StringComparer.Ordinal);
        FindRevisionsGivenTwice();
        foreach (var chain in log.Keys.Values.ToList())
            Explain(chain);
        foreach (var entry in log.Entries.Where(e => e is { Acknowledged: true, Observed: false }))
        {
            if (log.Coverage.Covers(entry.Revision - 1, entry.Revision))
                verdict.Add(Rule.LostWrite, $"{log.Resource}: {entry} was acknowledged and no watch that went past it has it: {entry.Writer}");
        }
        foreach (var delete in log.Operations.Where(o => o is { Verb: Verb.Delete, Outcome: Outcome.Ok } && history.IsOwned(o.Resource, o.Key)))
        {
            // A life that nobody saw any of leaves nothing to compare with.
            if (!_used.Contains(delete.Id) && !mayLose && log.Keys.GetValueOrDefault(delete.Key)?.Exists(e => e.Uid == delete.DeletedUid) == true)
                verdict.Add(Rule.LostWrite, $"acknowledged, and no removal is known: {delete}");
        }
    }

    private void FindRevisionsGivenTwice()
    {
        var answered = log.Operations.Where(o => o is { IsWrite: true, Outcome: Outcome.Ok, Answer: not null } && o.Verb != Verb.Delete);
        foreach (var same in answered.GroupBy(o => o.Answer!.Revision).Where(g => g.Count() > 1))
            verdict.Add(Rule.RevisionTwice, $"{string.Join(" and ", same)} were both acknowledged with revision {same.Key}");
    }

    private void Explain(List<Entry> chain)
    {
        for (var i = 0; i < chain.Count; i++)
        {
            var before = i == 0 ? null : chain[i - 1];
            var entry = chain[i];
            if (entry.Version is null)
                ExplainRemoval(entry);
            else if (ExplainPut(chain, ref i, before, entry) is { } writer)
                Mark(entry, writer);
        }
    }

    private Operation? ExplainPut(List<Entry> chain, ref int i, Entry? before, Entry entry)
    {
        var writer = _writes[entry.Key].FirstOrDefault(o => o is { Outcome: Outcome.Ok } && o.Verb != Verb.Delete && o.Answer?.Revision == entry.Revision);
        if (writer is not null)
        {
            if (Fits(writer, before, entry))
                return writer;
            // The first change of an epoch may follow on changes that the change of epoch has undone.
            for (var k = i - 1; k >= 0 && log.EpochOf(chain[k].Revision) < log.EpochOf(entry.Revision) && (mayLose || !log.IsAcknowledged(chain[k])); k--)
            {
                if (!Fits(writer, k == 0 ? null : chain[k - 1], entry))
                    continue;
                foreach (var undone in chain.GetRange(k, i - k))
                    log.Undo(undone, mayLose);
                i = k;
                return writer;
            }
            Report(writer, before, entry);
            return writer;
        }
        // Changed by the cluster itself: what the workload writes stays as it is.
        if (!history.IsOwned(log.Resource, entry.Key) && (before?.Version is null || entry.Fields!.Equals(before.Fields) || !IsComplete(before, entry)))
            return null;
        var candidates = _writes[entry.Key].Where(o => o.Outcome != Outcome.Ok && o.Verb != Verb.Delete && Fits(o, before, entry)).ToList();
        if (candidates.Find(o => o.Outcome == Outcome.Unknown && !_used.Contains(o.Id)) is { } unknown)
            return unknown;
        if (candidates.Find(o => o.Outcome == Outcome.Unknown) is { } twice)
            verdict.Add(Rule.Unexplained, $"{log.Resource}: {entry} is a second effect of {twice}");
        else if (candidates.Find(o => o.Outcome == Outcome.Failed) is { } refused)
            verdict.Add(Rule.Unexplained, $"{log.Resource}: {entry} is the effect of a refused operation: {refused}");
        else
            verdict.Add(Rule.Unexplained, $"{log.Resource}: nobody asked for {entry} after {before}");
        return null;
    }

    private void ExplainRemoval(Entry entry)
    {
        if (!history.IsOwned(log.Resource, entry.Key))
            return;
        var deletes = _writes[entry.Key].Where(o => o.Verb == Verb.Delete && (o.DeletedUid is null || o.DeletedUid == entry.Uid) && !_used.Contains(o.Id)).ToList();
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
        if (writer.ExpectedRevision is { } expected && before?.Revision != expected)
            verdict.Add(Rule.Condition, $"{writer} went through over {before}");
        else
            verdict.Add(Rule.WrongEffect, $"{log.Resource}: {entry} is not {before?.ToString() ?? "nothing"} after {writer}");
    }

    private bool IsComplete(Entry? before, Entry entry) => log.Coverage.Covers(before?.Revision ?? 0, entry.Revision);

    private void Mark(Entry entry, Operation writer)
    {
        entry.Writer = writer;
        _used.Add(writer.Id);
    }
}
