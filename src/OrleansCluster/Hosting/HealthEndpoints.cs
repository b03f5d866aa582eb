using System.Diagnostics;
using System.Diagnostics.Metrics;
using System.Net;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using OrleansCluster.ApiServer;
using OrleansCluster.Operations;

namespace OrleansCluster.Hosting;

/// <summary>
/// `/livez`, `/readyz`, `/healthz` and `/metrics` of any role in plain HTTP on an address of their own: for container engines and scrapers of this machine.
/// There is no credential, so the address is loopback unless the operator says otherwise. It listens before everything else starts and after everything
/// else has stopped, so that a role that cannot get ready can be asked why.
/// </summary>
internal sealed class HealthEndpoints(IPEndPoint endpoint, IServiceProvider services, ILoggerFactory loggers) : IHostedLifecycleService
{
    private readonly WebApplication _app = Build(endpoint, services, loggers);

    /// <summary>Where it listens, once started.</summary>
    public Uri? Address { get; private set; }

    public async Task StartingAsync(CancellationToken cancellationToken)
    {
        await _app.StartAsync(cancellationToken);
        Address = new Uri(_app.Urls.First());
    }

    public async Task StoppedAsync(CancellationToken cancellationToken)
    {
        await _app.StopAsync(cancellationToken);
        await _app.DisposeAsync();
    }

    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StartedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StoppingAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    private static WebApplication Build(IPEndPoint endpoint, IServiceProvider services, ILoggerFactory loggers)
    {
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.Services.AddSingleton(loggers);
        // This endpoint's connections are counted among the host's.
        builder.Services.AddSingleton(services.GetRequiredService<IMeterFactory>());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Listen(endpoint, static listen => listen.Protocols = HttpProtocols.Http1);
        });
        var app = builder.Build();
        var metrics = new MetricsPage(app, services);
        app.Run(context =>
        {
            Traces.LeaveOut(Activity.Current);
            var path = context.Request.Path.Value ?? "";
            if (!HttpMethods.IsGet(context.Request.Method) && !HttpMethods.IsHead(context.Request.Method))
                context.Response.StatusCode = StatusCodes.Status405MethodNotAllowed;
            else if (HealthChecks.IsHealthPath(path))
                return HealthHandler.HandleAsync(context, services.GetRequiredService<HealthChecks>()).AsTask();
            else if (path == "/metrics")
                return metrics.HandleAsync(context);
            else
                context.Response.StatusCode = StatusCodes.Status404NotFound;
            return Task.CompletedTask;
        });
        return app;
    }
}

/// <summary>Registration of <see cref="HealthEndpoints"/>.</summary>
internal static class HealthEndpointsRegistration
{
    /// <summary>Adds health, metrics and traces of a role, and the endpoints if an address is given.</summary>
    public static void AddOperations(this IHostApplicationBuilder builder, IPEndPoint? endpoint)
    {
        builder.Services.AddHealth();
        builder.Services.AddTraces(builder.Environment.ApplicationName);
        if (endpoint is null)
            return;
        builder.Services.AddClusterMetrics();
        builder.Services.AddSingleton(provider => new HealthEndpoints(endpoint, provider, provider.GetRequiredService<ILoggerFactory>()));
        // First, so that it starts before and stops after all others.
        builder.Services.Insert(0, ServiceDescriptor.Singleton<IHostedService>(static provider => provider.GetRequiredService<HealthEndpoints>()));
    }
}
