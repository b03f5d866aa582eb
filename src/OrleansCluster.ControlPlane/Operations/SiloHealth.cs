using System.Diagnostics.Metrics;
using Microsoft.Extensions.DependencyInjection;
using OrleansCluster.ControlPlane.Controllers;
using OrleansCluster.ControlPlane.Scheduling;
using OrleansCluster.Operations;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Operations;

/// <summary>Health and figures of a silo.</summary>
internal static class SiloHealth
{
    /// <summary>Registers a silo's checks and metrics; one line each.</summary>
    public static IServiceCollection AddSiloHealth(this IServiceCollection services)
    {
        services.AddMetrics();
        services.AddSingleton<ControllerPumps>();
        services.AddSingleton<SchedulerMetrics>();
        services.AddSingleton<IMetricsRefresh>(static provider => provider.GetRequiredService<SchedulerMetrics>());
        services.AddSingleton<MembershipMetrics>();
        services.AddHealthCheck(Membership);
        services.AddHealthCheck(SiloStore);
        services.AddHealthCheck(Scheduler);
        services.AddHealthCheck(Controllers);
        return services;
    }

    /// <summary>The other silos count this one as a member. One that was declared dead ends its process by itself.</summary>
    private static HealthCheck Membership(IServiceProvider provider)
    {
        var statuses = provider.GetRequiredService<ISiloStatusOracle>();
        _ = provider.GetRequiredService<MembershipMetrics>(); // It has only instruments, so nobody else asks for it.
        return HealthCheck.Of("membership", HealthImpact.Readiness, () =>
            statuses.CurrentStatus == SiloStatus.Active ? null : $"this silo is {statuses.CurrentStatus}");
    }

    /// <summary>The store answers a question that no cache can.</summary>
    private static HealthCheck SiloStore(IServiceProvider provider)
    {
        var store = provider.GetRequiredService<IObjectStore>();
        return new HealthCheck("silo-store", HealthImpact.Readiness, async cancellationToken =>
        {
            await store.GetRevisionAsync("namespaces", cancellationToken);
            return null;
        });
    }

    private static HealthCheck Scheduler(IServiceProvider provider)
    {
        var worker = provider.GetRequiredService<SchedulerWorker>();
        return HealthCheck.Of("scheduler", HealthImpact.Readiness, () => worker.Problem());
    }

    private static HealthCheck Controllers(IServiceProvider provider)
    {
        var pumps = provider.GetRequiredService<ControllerPumps>();
        var controllers = provider.GetRequiredService<ControllerRegistry>();
        return HealthCheck.Of("controllers", HealthImpact.Readiness, () => pumps.Problem(controllers.All.Select(static c => c.Name)));
    }

    /// <summary>How many silos there are, by this silo's word, and how often that has changed.</summary>
    internal sealed class MembershipMetrics
    {
        public MembershipMetrics(IClusterMembershipService membership, IMeterFactory meters)
        {
            var meter = meters.Create(ControlPlaneTelemetry.Name);
            meter.CreateObservableGauge(
                "orleanscluster_silos",
                () => membership.CurrentSnapshot.Members.Values.GroupBy(static m => m.Status).Select(
                    static g => new Measurement<int>(g.Count(), new KeyValuePair<string, object?>("status", g.Key.ToString()))),
                null, "Silos by status, dead ones included until they are forgotten.");
            meter.CreateObservableCounter(
                "orleanscluster_membership_changes_total", () => Math.Max(0, membership.CurrentSnapshot.Version.Value), null,
                "Version of the membership table, which every join, leave and death raises.");
        }
    }
}
