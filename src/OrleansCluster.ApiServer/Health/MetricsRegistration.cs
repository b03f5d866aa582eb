using System.Diagnostics.Metrics;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using OpenTelemetry.Exporter;
using OpenTelemetry.Metrics;

namespace OrleansCluster.ApiServer;

/// <summary>Collection of metrics in a host of any role.</summary>
public static class MetricsRegistration
{
    /// <summary>Of Orleans' instruments that are fed with every message or call none is collected: reading a gauge costs only who asks.</summary>
    private const string OrleansMeter = "Microsoft.Orleans";

    /// <summary>Fed only when an activation comes or goes: how many grains of each class there are.</summary>
    private const string OrleansGrains = "orleans-grains";

    /// <summary>Collects the meters of this project, of the .NET runtime, of the process and of Orleans for <see cref="MetricsPage"/>.</summary>
    /// <param name="services">The host's services; repeats are harmless.</param>
    public static IServiceCollection AddClusterMetrics(this IServiceCollection services)
    {
        ArgumentNullException.ThrowIfNull(services);
        if (services.Any(static s => s.ServiceType == typeof(ProcessMetrics)))
            return services;
        services.TryAddSingleton(TimeProvider.System);
        services.AddSingleton<ProcessMetrics>();
        services.Configure<PrometheusAspNetCoreOptions>(static exporter =>
        {
            // Names and labels are as the instruments have them: whose names Prometheus' users know has no scope label either.
            exporter.ScopeInfoEnabled = false;
            exporter.TargetInfoEnabled = false;
            exporter.ScrapeResponseCacheDurationMilliseconds = 0;
        });
        services.AddOpenTelemetry().WithMetrics(static metrics => metrics
            .AddMeter("OrleansCluster*", "System.Runtime", OrleansMeter, "Microsoft.AspNetCore.Server.Kestrel")
            .AddView(static instrument => IsWanted(instrument) ? null : MetricStreamConfiguration.Drop)
            .AddPrometheusExporter());
        return services;
    }

    private static bool IsWanted(Instrument instrument) => instrument.Meter.Name switch
    {
        OrleansMeter => instrument.IsObservable || instrument.Name == OrleansGrains,
        // How many there are is enough; what they do is counted by request.
        "Microsoft.AspNetCore.Server.Kestrel" => instrument.Name == "kestrel.active_connections",
        _ => true,
    };
}
