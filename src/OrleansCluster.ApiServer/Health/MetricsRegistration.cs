using System.Diagnostics.Metrics;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using OpenTelemetry.Exporter;
using OpenTelemetry.Metrics;

namespace OrleansCluster.ApiServer;

/// <summary>
/// Collection of metrics in a host of any role. What a host's parts measure are instruments of its <see cref="IMeterFactory"/>, and a host collects only its own:
/// OpenTelemetry keeps one stream for equal instruments, and the first of two hosts in a process to end would take that of the other along. Instruments
/// without a factory are the process's; they are static and never end.
/// </summary>
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
        services.AddMetrics();
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
            .AddPrometheusExporter());
        services.ConfigureOpenTelemetryMeterProvider(static (provider, metrics) =>
        {
            var own = provider.GetRequiredService<IMeterFactory>();
            metrics.AddView(instrument =>
                (instrument.Meter.Scope is null || ReferenceEquals(instrument.Meter.Scope, own)) && IsWanted(instrument) ? null : MetricStreamConfiguration.Drop);
        });
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
