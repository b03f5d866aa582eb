using OrleansCluster.Scheduling;

namespace OrleansCluster.ControlPlane.Scheduling;

/// <summary>Why nodes were refused: how many by which plug-in with which words, and some of their names.</summary>
internal sealed record Refusal(string Plugin, string Reason)
{
    /// <summary>Node names kept as examples.</summary>
    public const int MaxSamples = 3;

    public int Count { get; set; }

    public List<string> Samples { get; } = [];
}

/// <summary>A fit node and what each plug-in gave it.</summary>
internal sealed record ScoredNode(string Node, long Score);

/// <summary>What looking for a node came to.</summary>
internal sealed record SelectionResult(string? Node, int NodesSeen, IReadOnlyList<Refusal> Refusals, IReadOnlyList<ScoredNode> Best);

/// <summary>
/// Finds the best node for a pod: filter until enough fit nodes are found, score those, take the best; ties by chance from the decision's own seed, so
/// that a decision can be replayed. Pure: reads the slots it is given and nothing else.
/// </summary>
internal static class NodeSelection
{
    /// <summary>Below this many nodes all are looked at.</summary>
    private const int MinFitNodes = 100;

    /// <summary>Scored nodes kept for the trace.</summary>
    private const int MaxBest = 5;

    public static SelectionResult Select(
        PodRequirements pod, SchedulingProfile profile, ReadOnlySpan<ClusterView.Slot?> slots, IReadOnlySet<string> excluded, Random random)
    {
        var filters = profile.Filters.Where(f => f.AppliesTo(pod)).ToArray();
        var refusals = new List<Refusal>();
        var wanted = WantedFitNodes(slots.Length);
        var fit = new List<NodeView>(Math.Min(wanted, slots.Length));
        var start = slots.Length == 0 ? 0 : random.Next(slots.Length);
        var seen = 0;
        for (var i = 0; i < slots.Length && fit.Count < wanted; i++)
        {
            var at = start + i;
            if (slots[at >= slots.Length ? at - slots.Length : at] is not { Facts: not null } slot)
                continue;
            seen++;
            var node = slot.View;
            if (excluded.Contains(node.Facts.Name))
                Count(refusals, "Reserve", "node(s) refused the reservation", node.Facts.Name);
            else if (!IsRefused(pod, node, filters, refusals))
                fit.Add(node);
        }
        if (fit.Count == 0)
            return new SelectionResult(null, seen, refusals, []);
        var (best, ranking) = Rank(pod, profile, fit, random);
        return new SelectionResult(best, seen, refusals, ranking);
    }

    /// <summary>
    /// How many fit nodes are enough: all up to 100 nodes, then max(5 %, 50 − N/125 %), at least 100 (wire contract, section 17).
    /// </summary>
    public static int WantedFitNodes(int nodes)
    {
        if (nodes <= MinFitNodes)
            return nodes;
        var percent = Math.Max(5, 50 - (nodes / 125));
        return Math.Max(MinFitNodes, nodes * percent / 100);
    }

    private static bool IsRefused(PodRequirements pod, in NodeView node, IFilterPlugin[] filters, List<Refusal> refusals)
    {
        foreach (var filter in filters)
        {
            if (filter.Refuse(pod, node) is { } reason)
            {
                Count(refusals, filter.Name, reason, node.Facts.Name);
                return true;
            }
        }
        return false;
    }

    private static void Count(List<Refusal> refusals, string plugin, string reason, string node)
    {
        Refusal? found = null;
        foreach (var refusal in refusals)
        {
            if (refusal.Plugin == plugin && refusal.Reason == reason)
            {
                found = refusal;
                break;
            }
        }
        if (found is null)
            refusals.Add(found = new Refusal(plugin, reason));
        found.Count++;
        if (found.Samples.Count < Refusal.MaxSamples)
            found.Samples.Add(node);
    }

    private static (string Best, List<ScoredNode> Ranking) Rank(PodRequirements pod, SchedulingProfile profile, List<NodeView> fit, Random random)
    {
        var totals = new long[fit.Count];
        var raw = new long[fit.Count];
        foreach (var (plugin, weight) in profile.Scores)
        {
            if (!plugin.AppliesTo(pod))
                continue;
            long highest = 0;
            for (var i = 0; i < fit.Count; i++)
            {
                raw[i] = plugin.Score(pod, fit[i]);
                highest = Math.Max(highest, raw[i]);
            }
            for (var i = 0; i < fit.Count; i++)
            {
                totals[i] += weight * plugin.Normalization switch
                {
                    ScoreNormalization.Proportional => highest == 0 ? 0 : raw[i] * 100 / highest,
                    ScoreNormalization.Reversed => highest == 0 ? 100 : 100 - (raw[i] * 100 / highest),
                    _ => raw[i],
                };
            }
        }
        var best = 0;
        var ties = 1;
        for (var i = 1; i < fit.Count; i++)
        {
            if (totals[i] > totals[best])
            {
                best = i;
                ties = 1;
            }
            else if (totals[i] == totals[best] && random.Next(++ties) == 0)
            {
                best = i;
            }
        }
        var ranking = new List<ScoredNode>(MaxBest) { new(fit[best].Facts.Name, totals[best]) };
        for (var i = 0; i < fit.Count && ranking.Count < MaxBest; i++)
        {
            if (i != best && totals[i] == totals[best])
                ranking.Add(new ScoredNode(fit[i].Facts.Name, totals[i]));
        }
        return (fit[best].Facts.Name, ranking);
    }
}
