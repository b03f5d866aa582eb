using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using OpenTelemetry.Metrics;
using OrleansCluster.Operations;

namespace OrleansCluster.ApiServer;

/// <summary>`/metrics` in Prometheus' text form. Who may read it is the caller's matter.</summary>
public sealed class MetricsPage
{
    /// <summary>Longest wait for figures that must be asked for; after that the last known ones are shown.</summary>
    private static readonly TimeSpan RefreshTimeout = TimeSpan.FromSeconds(2);

    private readonly IMetricsRefresh[] _refreshes;
    private readonly TimeProvider _time;
    private readonly RequestDelegate _exporter;

    /// <summary>Makes the page of a host in which <see cref="MetricsRegistration.AddClusterMetrics"/> was called.</summary>
    /// <param name="app">The application that serves it.</param>
    /// <param name="services">The host's services.</param>
    public MetricsPage(IApplicationBuilder app, IServiceProvider services)
    {
        ArgumentNullException.ThrowIfNull(app);
        _refreshes = [.. services.GetServices<IMetricsRefresh>()];
        _time = services.GetRequiredService<TimeProvider>();
        _ = services.GetRequiredService<ProcessMetrics>(); // It has only instruments, so nobody else asks for it.
        var branch = app.New();
        branch.UseOpenTelemetryPrometheusScrapingEndpoint(
            meterProvider: services.GetRequiredService<MeterProvider>(), predicate: static _ => true, path: null, configureBranchedPipeline: null, optionsName: null);
        _exporter = branch.Build();
    }

    /// <summary>Answers a scrape.</summary>
    public async Task HandleAsync(HttpContext context)
    {
        ArgumentNullException.ThrowIfNull(context);
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted);
        foreach (var refresh in _refreshes)
        {
            try
            {
                await refresh.RefreshAsync(limit.Token).AsTask().WaitAsync(RefreshTimeout, _time, context.RequestAborted);
            }
            catch (Exception) when (!context.RequestAborted.IsCancellationRequested)
            {
                // A part of the cluster that does not answer must not hide the figures of the others.
            }
        }
        await limit.CancelAsync();
        await _exporter(context);
    }
}
