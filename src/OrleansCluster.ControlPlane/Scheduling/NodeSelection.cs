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

/// <summary>A fit node and its sum of weighted scores.</summary>
internal readonly record struct ScoredNode(string Node, long Score);

/// <summary>What looking for a node came to; <see cref="Best"/> has the highest scores, the chosen node first.</summary>
internal sealed record SelectionResult(string? Node, int NodesSeen, IReadOnlyList<Refusal> Refusals, IReadOnlyList<ScoredNode> Best)
{
    /// <summary>Refused nodes that might take the pod if other pods left them.</summary>
    public int NodesThatLackRoom { get; init; }
}

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

    // A decision over thousands of nodes fills some tens of kilobytes; each thread keeps its own for the next one.
    [ThreadStatic]
    private static Scratch? _scratch;

    [ThreadStatic]
    private static List<string>? _furtherReasons;

    public static SelectionResult Select(
        PodRequirements pod, SchedulingProfile profile, ReadOnlySpan<ClusterView.Slot?> slots, IReadOnlySet<string> excluded, Random random)
    {
        var wanted = WantedFitNodes(slots.Length);
        var scratch = _scratch ??= new Scratch();
        scratch.Reserve(wanted, profile.Filters.Count);
        var filters = Applicable(pod, profile, scratch);
        List<Refusal>? refusals = null;
        var start = slots.Length == 0 ? 0 : random.Next(slots.Length);
        var seen = 0;
        var fit = 0;
        var full = 0;
        for (var i = 0; i < slots.Length && fit < wanted; i++)
        {
            var at = start + i;
            if (slots[at >= slots.Length ? at - slots.Length : at] is not { Facts: { } facts } slot)
                continue;
            seen++;
            ref var node = ref scratch.Fit[fit];
            node = slot.Usage.View(facts);
            if (excluded.Count > 0 && excluded.Contains(facts.Name))
                Count(ref refusals, "Reserve", "node(s) refused the reservation", facts.Name);
            else if (RefusedBy(pod, node, filters, ref refusals) is not { } filter)
                fit++;
            else if (filter.RoomWouldHelp)
                full++;
        }
        try
        {
            if (fit == 0)
                return new SelectionResult(null, seen, refusals ?? [], []) { NodesThatLackRoom = full };
            var ranking = Rank(pod, profile, scratch, fit, random);
            return new SelectionResult(ranking[0].Node, seen, refusals ?? [], ranking) { NodesThatLackRoom = full };
        }
        finally
        {
            scratch.Clear(Math.Min(fit + 1, scratch.Fit.Length));
        }
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

    private static ReadOnlySpan<IFilterPlugin> Applicable(PodRequirements pod, SchedulingProfile profile, Scratch scratch)
    {
        var count = 0;
        for (var i = 0; i < profile.Filters.Count; i++)
        {
            if (profile.Filters[i].AppliesTo(pod))
                scratch.Filters[count++] = profile.Filters[i];
        }
        return scratch.Filters.AsSpan(0, count);
    }

    private static IFilterPlugin? RefusedBy(PodRequirements pod, in NodeView node, ReadOnlySpan<IFilterPlugin> filters, ref List<Refusal>? refusals)
    {
        foreach (var filter in filters)
        {
            if (filter.Refuse(pod, node) is not { } reason)
                continue;
            Count(ref refusals, filter.Name, reason, node.Facts.Name);
            var further = _furtherReasons ??= [];
            filter.AddFurtherReasons(pod, node, further);
            foreach (var other in further)
                Count(ref refusals, filter.Name, other, node.Facts.Name);
            further.Clear();
            return filter;
        }
        return null;
    }

    private static void Count(ref List<Refusal>? refusals, string plugin, string reason, string node)
    {
        refusals ??= [];
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

    /// <summary>The best nodes, the highest score first; among equals a chosen one comes first.</summary>
    private static ScoredNode[] Rank(PodRequirements pod, SchedulingProfile profile, Scratch scratch, int count, Random random)
    {
        var fit = scratch.Fit.AsSpan(0, count);
        var totals = scratch.Totals.AsSpan(0, count);
        totals.Clear();
        for (var s = 0; s < profile.Scores.Count; s++)
        {
            var (plugin, weight) = profile.Scores[s];
            if (plugin.AppliesTo(pod))
                AddScores(pod, plugin, weight, fit, scratch.Raw.AsSpan(0, count), totals);
        }
        var best = 0;
        var ties = 1;
        for (var i = 1; i < count; i++)
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
        return Highest(fit, totals, best);
    }

    private static void AddScores(PodRequirements pod, IScorePlugin plugin, int weight, Span<NodeView> fit, Span<long> raw, Span<long> totals)
    {
        long highest = 0;
        for (var i = 0; i < fit.Length; i++)
        {
            raw[i] = plugin.Score(pod, fit[i]);
            highest = Math.Max(highest, raw[i]);
        }
        switch (plugin.Normalization)
        {
            case ScoreNormalization.Proportional:
                for (var i = 0; i < fit.Length && highest > 0; i++)
                    totals[i] += weight * (raw[i] * 100 / highest);
                break;
            case ScoreNormalization.Reversed:
                for (var i = 0; i < fit.Length; i++)
                    totals[i] += weight * (highest == 0 ? 100 : 100 - (raw[i] * 100 / highest));
                break;
            default:
                for (var i = 0; i < fit.Length; i++)
                    totals[i] += weight * raw[i];
                break;
        }
    }

    private static ScoredNode[] Highest(Span<NodeView> fit, Span<long> totals, int best)
    {
        var ranking = new ScoredNode[Math.Min(MaxBest, fit.Length)];
        ranking[0] = new ScoredNode(fit[best].Facts.Name, totals[best]);
        var filled = 1;
        for (var i = 0; i < fit.Length; i++)
        {
            if (i == best || (filled == ranking.Length && totals[i] <= ranking[^1].Score))
                continue;
            filled = Math.Min(filled + 1, ranking.Length);
            var at = filled - 1;
            for (; at > 1 && ranking[at - 1].Score < totals[i]; at--)
                ranking[at] = ranking[at - 1];
            ranking[at] = new ScoredNode(fit[i].Facts.Name, totals[i]);
        }
        return ranking;
    }

    private sealed class Scratch
    {
        public NodeView[] Fit { get; private set; } = [];

        public long[] Raw { get; private set; } = [];

        public long[] Totals { get; private set; } = [];

        public IFilterPlugin[] Filters { get; private set; } = [];

        public void Reserve(int nodes, int filters)
        {
            if (Fit.Length < nodes + 1)
            {
                Fit = new NodeView[nodes + 1];
                Raw = new long[nodes + 1];
                Totals = new long[nodes + 1];
            }
            if (Filters.Length < filters)
                Filters = new IFilterPlugin[filters];
        }

        // Nodes that are gone must not be kept alive from here.
        public void Clear(int used) => Fit.AsSpan(0, used).Clear();
    }
}
