using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Options;
using Orleans.Configuration;
using OrleansCluster.ControlPlane.Admission;
using OrleansCluster.ControlPlane.Controllers;
using OrleansCluster.ControlPlane.Nodes;
using OrleansCluster.ControlPlane.Objects;
using OrleansCluster.ControlPlane.Operations;
using OrleansCluster.ControlPlane.Scheduling;

namespace OrleansCluster.ControlPlane;

/// <summary>Composition of the control plane: every admission step, commit effect and controller is one line here.</summary>
public static class ControlPlaneRegistration
{
    /// <summary>
    /// Adds what the grains of a silo need. The host adds the store, the caches, the registry and a <see cref="TimeProvider"/>.
    /// </summary>
    public static IServiceCollection AddControlPlane(this IServiceCollection services, Action<ControlPlaneOptions>? configure = null)
    {
        services.AddOptions<ControlPlaneOptions>().Configure(configure ?? (_ => { })).ValidateOnStart();
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IValidateOptions<ControlPlaneOptions>, ControlPlaneOptionsValidator>());

        // Grains of idle objects go after a minute, so Orleans must look more often than that; with another quantum no silo starts.
        services.Configure<GrainCollectionOptions>(collection => collection.CollectionQuantum = TimeSpan.FromSeconds(30));

        // The first hosted service after the silo, so that it stops right before it: events are written through grains.
        services.AddSingleton<ControllerEvents>();
        services.AddHostedService(static provider => provider.GetRequiredService<ControllerEvents>());

        services.AddSingleton(new PauseWatch(TimeProvider.System));
        services.AddHostedService(provider => provider.GetRequiredService<PauseWatch>());
        services.AddSingleton(provider => ActivatorUtilities.CreateInstance<ObjectGrainServices>(
            provider, (Func<bool>)(() => provider.GetRequiredService<PauseWatch>().HasJustResumed)));
        services.AddSingleton<CommitEffects>();

        // Admission, in the order it runs: existence of the namespace first, so that nothing is allocated for a write that cannot be.
        services.AddSingleton<AdmissionChain>();
        services.AddSingleton<IAdmissionStep, NamespaceLifecycle>();
        services.AddSingleton<IAdmissionStep, PodDefaults>();
        services.AddSingleton<IAdmissionStep, ServiceAddresses>();
        services.AddSingleton<IAdmissionStep, NodePodSubnet>();

        services.AddSingleton<SchedulingProfiles>();
        services.AddSingleton<ClusterView>();
        services.AddSingleton<NodePods>();
        services.AddSingleton<ICommitEffect, PendingPods>();
        services.AddSingleton<SchedulerWorker>();
        services.AddHostedService(static provider => provider.GetRequiredService<SchedulerWorker>());

        services.AddSingleton<ControllerRegistry>();
        services.AddSingleton<OwnerIndex>();
        services.AddController<ReplicationControllerController>();
        services.AddController<EndpointsController>();
        services.AddController<EndpointSliceController>();
        services.AddController<NamespaceController>();
        services.AddController<NamespaceDefaultsController>();
        services.AddController<GarbageCollector>();
        services.AddController<PodGarbageController>();
        services.AddController<NodeLifecycleController>();
        services.AddHostedService<ControllerStarter>();
        services.AddSiloHealth();
        return services;
    }
}
