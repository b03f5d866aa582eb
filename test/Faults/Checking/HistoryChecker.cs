using OrleansCluster.Faults.Histories;

namespace OrleansCluster.Faults.Checking;

/// <summary>
/// Proves over a recorded history what must always hold. It knows nothing of the system: only operations, answers, watch events and the rules.
/// </summary>
internal static class HistoryChecker
{
    /// <param name="history">What was recorded.</param>
    /// <param name="mayLose">True: a change of epoch may lose acknowledged writes.</param>
    public static Verdict Check(History history, bool mayLose = false)
    {
        var verdict = new Verdict { Operations = history.Operations.Count };
        var resources = history.Operations.Select(o => o.Resource)
            .Concat(history.Observers.Select(o => o.Resource)).Concat(history.Final.Select(o => o.Resource))
            .Distinct(StringComparer.Ordinal);
        foreach (var resource in resources.Order(StringComparer.Ordinal))
        {
            var log = ResourceLog.Build(resource, history, mayLose, verdict);
            new Attribution(log, history, mayLose, verdict).Run();
            new Linearizability(log, verdict).Run();
            new WatchRule(log, verdict).Run();
            CheckExclusive(log, history, verdict);
            CheckFinal(resource, history, verdict);
            verdict.Entries += log.Entries.Count();
        }
        return verdict;
    }

    /// <summary>No two objects hold the same claim at one revision.</summary>
    private static void CheckExclusive(ResourceLog log, History history, Verdict verdict)
    {
        var holders = new Dictionary<string, string>(StringComparer.Ordinal);
        var claims = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var entry in log.Entries)
        {
            // Past a change that nobody saw, who holds what is not known.
            if (!log.Coverage.Covers(0, entry.Revision))
                return;
            if (claims.Remove(entry.Key, out var held))
                holders.Remove(held);
            if (entry.Fields?.Values.TryGetValue(history.ExclusiveField, out var claim) != true || claim is null)
                continue;
            if (!holders.TryAdd(claim, entry.Key))
                verdict.Add(Rule.Exclusive, $"{log.Resource}: {entry} holds {claim}, which {holders[claim]} holds");
            claims[entry.Key] = claim;
        }
    }

    /// <summary>When all is quiet, every server shows the same.</summary>
    private static void CheckFinal(string resource, History history, Verdict verdict)
    {
        var final = history.Final.Where(f => f.Resource == resource).ToList();
        foreach (var other in final.Skip(1))
        {
            var a = final[0].Items.Select(i => i.ToString()).Order(StringComparer.Ordinal);
            var b = other.Items.Select(i => i.ToString()).Order(StringComparer.Ordinal);
            if (!a.SequenceEqual(b, StringComparer.Ordinal))
                verdict.Add(Rule.TwoHistories, $"{resource}: at the end {final[0].Endpoint} and {other.Endpoint} show different objects");
        }
    }
}
