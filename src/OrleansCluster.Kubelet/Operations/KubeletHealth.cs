using System.Diagnostics.Metrics;
using Microsoft.Extensions.DependencyInjection;
using OrleansCluster.Kubelet.Nodes;
using OrleansCluster.Operations;

namespace OrleansCluster.Kubelet.Operations;

/// <summary>Health and figures of the node agents of a process.</summary>
public static class KubeletHealth
{
    /// <summary>
    /// An operation on the engine that takes longer is stuck; pulling an image and the hooks of a pod are not counted, they take the time they take.
    /// </summary>
    private static readonly TimeSpan OperationLimit = TimeSpan.FromMinutes(10);

    /// <summary>Most names in an answer.</summary>
    private const int MostNames = 5;

    /// <summary>
    /// Adds the checks `engine` and `pod-workers`, and `control-plane`, which is only reported: without its control plane an agent goes on looking
    /// after what it has.
    /// </summary>
    /// <param name="services">The host's services.</param>
    /// <param name="impact">What a sick agent means for the process: in a process of many roles it is not the whole.</param>
    public static IServiceCollection AddNodeAgentHealth(this IServiceCollection services, HealthImpact impact) => services
        .AddHealthCheck(provider => Engine(provider, impact))
        .AddHealthCheck(provider => Workers(provider, impact))
        .AddHealthCheck(ControlPlane);

    private static HealthCheck Engine(IServiceProvider provider, HealthImpact impact)
    {
        var host = provider.GetRequiredService<NodeAgentHost>();
        return new HealthCheck("engine", impact, async cancellationToken =>
        {
            foreach (var agent in host.Agents.Values)
            {
                if (!agent.RuntimeReady.IsCompletedSuccessfully)
                    return $"{agent.Name}: the container engine has not answered yet";
                await agent.PingAsync(cancellationToken);
                if (!agent.IsHollow)
                    break; // All nodes of a process share the engine.
            }
            return null;
        });
    }

    private static HealthCheck Workers(IServiceProvider provider, HealthImpact impact)
    {
        var host = provider.GetRequiredService<NodeAgentHost>();
        return HealthCheck.Of("pod-workers", impact, () =>
            Names(host.Agents.Values.SelectMany(static a => a.Workers())
                .Where(static w => w.LongestOperation > OperationLimit)
                .Select(static w => $"{w.Identity.Namespace}/{w.Identity.Name}")) is { } stuck ? $"operations that do not end: {stuck}" : null);
    }

    private static HealthCheck ControlPlane(IServiceProvider provider)
    {
        var host = provider.GetRequiredService<NodeAgentHost>();
        return HealthCheck.Of("control-plane", HealthImpact.Report, () =>
            Names(host.Agents.Values.Where(static a => !a.IsConnected).Select(static a => a.Name)) is { } away ? $"not connected: {away}" : null);
    }

    private static string? Names(IEnumerable<string> names)
    {
        var all = names.ToList();
        return all.Count == 0 ? null : string.Join(", ", all.Take(MostNames)) + (all.Count > MostNames ? $" and {all.Count - MostNames} more" : "");
    }

    /// <summary>Gauges of a host's agents.</summary>
    internal static void AddGauges(IMeterFactory meters, IReadOnlyDictionary<string, NodeAgent> agents)
    {
        var meter = meters.Create(KubeletTelemetry.Name);
        meter.CreateObservableGauge(
            "kubelet_running_pods", () => agents.Values.Sum(static a => a.Workers().Count(static w => w.Counts().Sandbox)), null, "Pods whose sandbox runs.");
        meter.CreateObservableGauge(
            "kubelet_running_containers",
            () => new Measurement<int>(agents.Values.Sum(static a => a.Workers().Sum(static w => w.Counts().Containers)), new KeyValuePair<string, object?>("container_state", "running")),
            null, "Containers by state.");
        meter.CreateObservableGauge("kubelet_active_pods", () => agents.Values.Sum(static a => a.PodCount), null, "Pods that the agent looks after.");
        meter.CreateObservableGauge(
            "orleanscluster_kubelet_nodes",
            () => (Measurement<int>[])
            [
                new(agents.Values.Count(static a => a.IsConnected), new KeyValuePair<string, object?>("connected", "true")),
                new(agents.Values.Count(static a => !a.IsConnected), new KeyValuePair<string, object?>("connected", "false")),
            ],
            null, "Nodes of this process by whether their agent is connected to the control plane.");
    }
}
