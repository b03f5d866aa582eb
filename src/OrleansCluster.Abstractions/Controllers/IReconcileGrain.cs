namespace OrleansCluster;

/// <summary>Reconciles one object for one controller. Keyed `controller|resource/namespace/name`.</summary>
[Alias("OrleansCluster.IReconcileGrain")]
public interface IReconcileGrain : IGrainWithStringKey
{
    /// <summary>Runs the controller once, on a state at least as new as the revisions given.</summary>
    [Alias("Reconcile")]
    Task<ReconcileReply> ReconcileAsync([Immutable] SeenRevision[] seen, CancellationToken cancellationToken = default);
}

/// <summary>A revision of a resource that a run must have seen.</summary>
/// <param name="Resource">The resource.</param>
/// <param name="Revision">The revision.</param>
[GenerateSerializer, Immutable, Alias("OrleansCluster.SeenRevision")]
public readonly record struct SeenRevision([property: Id(0)] string Resource, [property: Id(1)] long Revision);

/// <summary>How a run ended.</summary>
[GenerateSerializer, Immutable, Alias("OrleansCluster.ReconcileReply")]
public sealed record ReconcileReply
{
    /// <summary>True if the run did its work, or failed in a way that no retry heals: the wake-ups it has seen are done with.</summary>
    [Id(0)] public required bool Settled { get; init; }

    /// <summary>Run again after this long; the back-off if the run failed.</summary>
    [Id(1)] public TimeSpan? RequeueAfter { get; init; }
}

/// <summary>
/// Wakes the reconcile grains of one controller. One activation in the cluster; every silo pings it, so that it comes back elsewhere when its
/// silo is gone. Keyed by controller name.
/// </summary>
[Alias("OrleansCluster.IControllerPumpGrain")]
public interface IControllerPumpGrain : IGrainWithStringKey
{
    /// <summary>Starts the pump if it does not run.</summary>
    [Alias("EnsureRunning")]
    Task EnsureRunningAsync(CancellationToken cancellationToken = default);
}
