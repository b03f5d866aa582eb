using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;

namespace OrleansCluster.Operations;

/// <summary>
/// How a process says that it is going away:
/// <code>
///   SIGTERM ─► HasBegun: `/readyz` answers 503, `/livez` 200; requests are still served ─► (delay) ─► Ending: watches end, hosted services stop
/// </code>
/// The delay gives load balancers time to notice. It counts towards the host's shutdown time-out.
/// </summary>
public sealed class GracefulShutdown : IHostedLifecycleService, IDisposable
{
    private readonly TimeProvider _time;
    private readonly CancellationTokenSource _ending = new();
    private readonly CancellationTokenRegistration _stopping;
    private volatile bool _begun;

    /// <summary>Made by the host's container.</summary>
    /// <param name="lifetime">Tells when the shutdown begins.</param>
    /// <param name="time">Clock of the delay.</param>
    public GracefulShutdown(IHostApplicationLifetime lifetime, TimeProvider time)
    {
        ArgumentNullException.ThrowIfNull(lifetime);
        _time = time;
        _stopping = lifetime.ApplicationStopping.UnsafeRegister(static self => ((GracefulShutdown)self!)._begun = true, this);
    }

    /// <summary>Time between the begin of a shutdown and the end of service; default none.</summary>
    public TimeSpan Delay { get; set; }

    /// <summary>True from the first moment of a shutdown on.</summary>
    public bool HasBegun => _begun;

    /// <summary>Cancelled when what lasts (watches, streams) has to end.</summary>
    public CancellationToken Ending => _ending.Token;

    /// <inheritdoc/>
    public async Task StoppingAsync(CancellationToken cancellationToken)
    {
        _begun = true;
        if (Delay > TimeSpan.Zero)
            await Task.Delay(Delay, _time, cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await _ending.CancelAsync();
    }

    /// <inheritdoc/>
    public Task StartingAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <inheritdoc/>
    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <inheritdoc/>
    public Task StartedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <inheritdoc/>
    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <inheritdoc/>
    public Task StoppedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <inheritdoc/>
    public void Dispose()
    {
        _stopping.Dispose();
        _ending.Dispose();
    }
}

/// <summary>Registration of health checks.</summary>
public static class HealthRegistration
{
    /// <summary>Adds <see cref="HealthChecks"/> and <see cref="GracefulShutdown"/>; repeats are harmless.</summary>
    public static IServiceCollection AddHealth(this IServiceCollection services)
    {
        services.TryAddSingleton(TimeProvider.System);
        services.TryAddSingleton<GracefulShutdown>();
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IHostedService, GracefulShutdown>(static provider => provider.GetRequiredService<GracefulShutdown>()));
        services.TryAddSingleton<HealthChecks>();
        return services;
    }

    /// <summary>Adds a check.</summary>
    /// <param name="services">The host's services.</param>
    /// <param name="check">Makes it, once.</param>
    public static IServiceCollection AddHealthCheck(this IServiceCollection services, Func<IServiceProvider, HealthCheck> check) =>
        services.AddHealth().AddSingleton(check);
}
