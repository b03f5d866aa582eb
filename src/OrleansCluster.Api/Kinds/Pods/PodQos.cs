using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>The quality-of-service class of a pod, from the cpu and memory its containers ask for (wire contract, section 15).</summary>
internal static class PodQos
{
    /// <summary>
    /// BestEffort: nothing asked for. Guaranteed: every container has cpu and memory limits, and all requests together equal all limits. Else
    /// Burstable.
    /// </summary>
    public static string Class(JsonObject? spec)
    {
        Quantity requestedCpu = default, requestedMemory = default, limitCpu = default, limitMemory = default;
        var allLimited = true;
        foreach (var list in (ReadOnlySpan<string>)["containers", "initContainers"])
        {
            foreach (var (_, container) in spec.Items(list))
            {
                var resources = container.GetObject("resources");
                requestedCpu += Amount(resources, "requests", "cpu");
                requestedMemory += Amount(resources, "requests", "memory");
                var cpu = Amount(resources, "limits", "cpu");
                var memory = Amount(resources, "limits", "memory");
                allLimited &= cpu.Sign > 0 && memory.Sign > 0;
                limitCpu += cpu;
                limitMemory += memory;
            }
        }
        if (requestedCpu.IsZero && requestedMemory.IsZero && limitCpu.IsZero && limitMemory.IsZero)
            return "BestEffort";
        return allLimited && requestedCpu == limitCpu && requestedMemory == limitMemory ? "Guaranteed" : "Burstable";
    }

    private static Quantity Amount(JsonObject? resources, string kind, string name) =>
        ResourceRules.TryRead(resources.GetObject(kind)?[name], out var quantity) && quantity.Sign > 0 ? quantity : default;
}
