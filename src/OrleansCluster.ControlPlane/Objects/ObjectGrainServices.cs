using System.Text.Json.Nodes;
using OrleansCluster.Api;
using OrleansCluster.ControlPlane.Admission;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Objects;

/// <summary>What every object grain of a silo shares.</summary>
public sealed class ObjectGrainServices(
    ResourceRegistry registry, IObjectStore store, AdmissionChain admission, CommitEffects effects, TimeProvider time, Func<bool>? hasJustResumed = null)
{
    /// <summary>True while requests may lie here that their callers have given up (<see cref="PauseWatch"/>).</summary>
    internal bool HasJustResumed() => hasJustResumed?.Invoke() ?? false;

    /// <summary>The resources.</summary>
    public ResourceRegistry Registry { get; } = registry;

    /// <summary>The store; it groups the commits of all grains.</summary>
    public IObjectStore Store { get; } = store;

    /// <summary>The admission steps.</summary>
    public AdmissionChain Admission { get; } = admission;

    /// <summary>Queue changes that go with commits.</summary>
    public CommitEffects Effects { get; } = effects;

    /// <summary>The clock.</summary>
    public TimeProvider Time { get; } = time;

    /// <summary>What a client sees of an object through a subresource: the object itself, or a Scale made from it.</summary>
    public byte[] View(byte[] served, ResourceDefinition definition, string subresource) =>
        subresource is "" or "status"
            ? served
            : CanonicalJson.SerializeNode(definition.Strategy.View(CanonicalJson.Parse(served), subresource));
}

/// <summary>The registered <see cref="ICommitEffect"/>s by resource.</summary>
public sealed class CommitEffects(IEnumerable<ICommitEffect> effects)
{
    private readonly Dictionary<string, ICommitEffect> _byResource = effects.ToDictionary(e => e.Resource, StringComparer.Ordinal);

    /// <summary>The queue change that goes with a write, or null.</summary>
    public QueueChange? Queue(string resource, JsonObject? obj, JsonObject? old) =>
        _byResource.TryGetValue(resource, out var effect) ? effect.Queue(obj, old) : null;
}
