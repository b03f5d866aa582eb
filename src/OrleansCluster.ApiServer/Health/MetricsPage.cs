using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
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
    /// <param name="app">The host's application.</param>
    public MetricsPage(IApplicationBuilder app)
    {
        ArgumentNullException.ThrowIfNull(app);
        _refreshes = [.. app.ApplicationServices.GetServices<IMetricsRefresh>()];
        _time = app.ApplicationServices.GetRequiredService<TimeProvider>();
        _ = app.ApplicationServices.GetRequiredService<ProcessMetrics>(); // It has only instruments, so nobody else asks for it.
        var branch = app.New();
        branch.UseOpenTelemetryPrometheusScrapingEndpoint(
            meterProvider: null, predicate: static _ => true, path: null, configureBranchedPipeline: null, optionsName: null);
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
