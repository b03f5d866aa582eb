namespace OrleansCluster.ControlPlane.Scheduling;

/// <summary>The sentence users know: `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {a: b}.`</summary>
internal static class UnschedulableMessage
{
    public static string From(SelectionResult selection)
    {
        if (selection.NodesSeen == 0)
            return "no nodes available to schedule pods";
        var reasons = selection.Refusals
            .GroupBy(r => r.Reason, StringComparer.Ordinal)
            .Select(g => $"{g.Sum(r => r.Count)} {g.Key}")
            .Order(StringComparer.Ordinal);
        return $"0/{selection.NodesSeen} nodes are available: {string.Join(", ", reasons)}.";
    }
}
