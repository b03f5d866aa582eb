using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using OrleansCluster.ControlPlane.Operations;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Controllers;

/// <summary>
/// Hosts the pump of one controller: Orleans sees to it that it runs once in the cluster and elsewhere after a silo's death. Two at once, during
/// a change of membership, are harmless: reconcile grains are level-triggered.
/// </summary>
[KeepAlive]
public sealed class ControllerPumpGrain(
    ControllerRegistry controllers, IResourceCaches caches, IObjectStore store, IGrainFactory grains, ControllerPumps pumps, TimeProvider time,
    ILogger<ControllerPump> logger)
    : Grain, IControllerPumpGrain
{
    private readonly CancellationTokenSource _stop = new();
    private Task? _run;

    /// <inheritdoc/>
    public Task EnsureRunningAsync(CancellationToken cancellationToken)
    {
        if (_run is null or { IsCompleted: true } && controllers.Find(this.GetPrimaryKeyString()) is { } controller)
        {
            var pump = new ControllerPump(controller, caches, store, grains, time, logger);
            _run = Task.Run(() => RunAsync(pump), CancellationToken.None);
        }
        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public override async Task OnDeactivateAsync(DeactivationReason reason, CancellationToken cancellationToken)
    {
        await _stop.CancelAsync();
        if (_run is not null)
            await _run.WaitAsync(cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ContinueOnCapturedContext);
        _stop.Dispose();
    }

    private async Task RunAsync(ControllerPump pump)
    {
        using (pumps.Register(pump))
            await pump.RunAsync(_stop.Token);
    }
}

/// <summary>Sees to it, on every silo, that each controller's pump runs somewhere.</summary>
public sealed partial class ControllerStarter(
    ControllerRegistry controllers, IGrainFactory grains, ControllerPumps pumps, TimeProvider time, ILogger<ControllerStarter> logger) : BackgroundService
{
    /// <summary>After a silo's death its pumps are back within this time plus the death's detection.</summary>
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(1);

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(Interval, time);
        do
        {
            // Side by side: one that a dying silo does not answer for must not hold the others up.
            await Task.WhenAll(controllers.All.Select(controller => PingAsync(controller.Name, stoppingToken)));
        }
        while (await timer.WaitForNextTickAsync(stoppingToken));
    }

    private async Task PingAsync(string controller, CancellationToken stoppingToken)
    {
        try
        {
            await grains.GetGrain<IControllerPumpGrain>(controller).EnsureRunningAsync(stoppingToken);
            pumps.Answered(controller);
        }
        catch (Exception error) when (!stoppingToken.IsCancellationRequested)
        {
            Log.PingFailed(logger, controller, error.Message);
        }
    }

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Information, "The pump of {Controller} did not answer: {Error}")]
        public static partial void PingFailed(ILogger logger, string controller, string error);
    }
}
