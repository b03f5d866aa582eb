using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using OrleansCluster.Operations;
using OrleansCluster.Proxy.Host;

namespace OrleansCluster.Proxy;

/// <summary>Registration of the service proxy.</summary>
public static class ServiceProxyRegistration
{
    /// <summary>Adds the checks `service-rules` and `service-feed`; the last rules stay in force without the feed, so that one is only reported.</summary>
    /// <param name="services">The host's services.</param>
    /// <param name="impact">What missing rules mean for the process: in a process of many roles it is not the whole.</param>
    public static IServiceCollection AddServiceProxyHealth(this IServiceCollection services, HealthImpact impact) => services
        .AddHealthCheck(provider => Rules(provider, impact))
        .AddHealthCheck(Feed);

    private static HealthCheck Rules(IServiceProvider provider, HealthImpact impact)
    {
        var proxy = provider.GetRequiredService<ServiceProxy>();
        return HealthCheck.Of("service-rules", impact, () => proxy.Status switch
        {
            { HasSynced: false } => "no complete set of rules has been applied yet",
            { LastError: not null } => "the newest rules could not be applied; the log tells why",
            _ => null,
        });
    }

    private static HealthCheck Feed(IServiceProvider provider)
    {
        var proxy = provider.GetRequiredService<ServiceProxy>();
        return HealthCheck.Of("service-feed", HealthImpact.Report, () =>
            proxy.Status.IsFeedConnected ? null : "not connected; the last known rules stay in force");
    }

    /// <summary>
    /// Adds the proxy as a hosted service, and as a singleton for its <see cref="ServiceProxy.Status"/>. The caller
    /// registers the <see cref="IServiceFeed"/>.
    /// </summary>
    /// <param name="services">The host's services.</param>
    /// <param name="configure">Settings; checked when the host starts.</param>
    public static IServiceCollection AddServiceProxy(this IServiceCollection services, Action<ServiceProxyOptions>? configure = null)
    {
        services.AddOptions<ServiceProxyOptions>().Configure(configure ?? (static _ => { })).ValidateOnStart();
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IValidateOptions<ServiceProxyOptions>, ServiceProxyOptions.Validator>());
        services.TryAddSingleton(TimeProvider.System);
        services.TryAddSingleton<IHostNetwork, HostNetwork>();
        services.TryAddSingleton<IProxyBackendSelector, ProxyBackendSelector>();
        services.TryAddSingleton(static provider => new ServiceProxy(
            provider.GetRequiredService<IServiceFeed>(),
            provider.GetRequiredService<IProxyBackendSelector>(),
            provider.GetRequiredService<IOptions<ServiceProxyOptions>>(),
            provider.GetRequiredService<TimeProvider>(),
            // Random is not thread-safe, and the proxy uses it under its own lock: it gets one of its own.
            new Random(),
            provider.GetRequiredService<ILogger<ServiceProxy>>()));
        services.AddHostedService(static provider => provider.GetRequiredService<ServiceProxy>());
        return services;
    }
}
