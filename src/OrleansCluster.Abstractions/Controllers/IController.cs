using OrleansCluster.Api;

namespace OrleansCluster;

/// <summary>
/// A controller: one method that brings one object's surroundings to what the object asks for. It is told which object, never what happened,
/// and reads the level. It runs in a grain keyed by controller and object: one at a time per object, in parallel across objects and silos.
/// It owns no retry, no queue and no back-off: the grain does. The smallest one:
/// <code>
/// public sealed class Greeter : IController
/// {
///     public string Name => "greeter";
///     public string Resource => "configmaps";
///     public Task&lt;ReconcileResult&gt; ReconcileAsync(ObjectKey key, ReconcileContext context) => Task.FromResult(ReconcileResult.Done);
/// }
/// </code>
/// </summary>
public interface IController
{
    /// <summary>Unique name, part of the grain key, e.g. `replicationcontroller`.</summary>
    string Name { get; }

    /// <summary>The resource whose objects it reconciles.</summary>
    string Resource { get; }

    /// <summary>False for a controller whose <see cref="WakeSources"/> say all there is; by default every change of its resource wakes it.</summary>
    bool WakesOnOwnResource => true;

    /// <summary>
    /// Further resources whose changes wake it, and how a changed object maps to the objects to reconcile. Called with every change's new and old
    /// state, on the pump's loop: quick, no I/O beyond the caches.
    /// </summary>
    IReadOnlyList<WakeSource> WakeSources => [];

    /// <summary>
    /// Least time between two runs for one object: changes within it are answered by one run. Zero by default; controllers that write large
    /// objects from many small changes (endpoints) set it.
    /// </summary>
    TimeSpan MinInterval => TimeSpan.Zero;

    /// <summary>
    /// Reconciles one object, which may be gone by now. Throwing means trying again with back-off; <see cref="TerminalException"/> means that
    /// trying again is of no use until something changes.
    /// </summary>
    Task<ReconcileResult> ReconcileAsync(ObjectKey key, ReconcileContext context);
}

/// <summary>A resource whose changes wake a controller.</summary>
/// <param name="Resource">The resource, e.g. `pods`.</param>
/// <param name="Map">Names the objects to reconcile for a changed object: new state, old state (either may be null).</param>
public sealed record WakeSource(string Resource, Func<WakeEvent, IEnumerable<ObjectKey>> Map);

/// <summary>A change that may wake a controller.</summary>
/// <param name="Object">The object after the change, or its last state if removed.</param>
/// <param name="Previous">The object before, or null.</param>
/// <param name="Removed">True if the object is gone.</param>
public sealed record WakeEvent(Storage.ICachedObject Object, Storage.ICachedObject? Previous, bool Removed);

/// <summary>How a reconcile ended.</summary>
/// <param name="RequeueAfter">Run again after this long even if nothing changes; null for no.</param>
public readonly record struct ReconcileResult(TimeSpan? RequeueAfter)
{
    /// <summary>Nothing more to do until something changes.</summary>
    public static ReconcileResult Done => default;

    /// <summary>Run again after a while.</summary>
    public static ReconcileResult After(TimeSpan delay) => new(delay);
}

/// <summary>An error that no retry heals: it is logged and counted, and the object waits for its next change.</summary>
public sealed class TerminalException(string message, Exception? inner = null) : Exception(message, inner);

/// <summary>What a reconcile works with. Made anew for every run.</summary>
public sealed class ReconcileContext
{
    /// <summary>Consistent reads and the writes; a read waits for this object's own last writes first.</summary>
    public required IObjectClient Objects { get; init; }

    /// <summary>Records Events.</summary>
    public required IEventRecorder Events { get; init; }

    /// <summary>The clock.</summary>
    public required TimeProvider Time { get; init; }

    /// <summary>Cancelled when the silo stops or the run takes too long.</summary>
    public required CancellationToken CancellationToken { get; init; }
}
