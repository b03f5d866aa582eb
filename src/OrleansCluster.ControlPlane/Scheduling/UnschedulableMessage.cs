namespace OrleansCluster.ControlPlane.Scheduling;

/// <summary>
/// The sentence users know: `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {a: b}. preemption: 0/3 nodes are available:
/// 1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling.` (wire contract, section 17).
/// </summary>
internal static class UnschedulableMessage
{
    public static string From(SelectionResult selection, bool neverPreempts = false)
    {
        if (selection.NodesSeen == 0)
            return "no nodes available to schedule pods";
        var reasons = selection.Refusals
            .GroupBy(r => r.Reason, StringComparer.Ordinal)
            .Select(g => (g.Key, g.Sum(r => r.Count)));
        return $"{Sentence(selection.NodesSeen, reasons)} preemption: {Preemption(selection, neverPreempts)}";
    }

    private static string Preemption(SelectionResult selection, bool never)
    {
        if (never)
            return "not eligible due to preemptionPolicy=Never.";
        var lacking = selection.NodesThatLackRoom;
        return Sentence(
            selection.NodesSeen,
            [
                ("No preemption victims found for incoming pod", lacking),
                ("Preemption is not helpful for scheduling", selection.NodesSeen - lacking),
            ]);
    }

    // Parts are sorted as text, numbers included, as users have always seen them.
    private static string Sentence(int nodes, IEnumerable<(string Reason, int Count)> reasons)
    {
        var parts = reasons.Where(r => r.Count > 0).Select(r => $"{r.Count} {r.Reason}").Order(StringComparer.Ordinal);
        return $"0/{nodes} nodes are available: {string.Join(", ", parts)}.";
    }
}
