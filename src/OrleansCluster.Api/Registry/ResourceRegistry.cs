using System.Collections.Frozen;

namespace OrleansCluster.Api;

/// <summary>
/// The resources a process serves. Immutable: a change (a custom resource) makes a new registry, which readers pick up whole.
/// </summary>
public sealed class ResourceRegistry
{
    private readonly FrozenDictionary<string, ResourceDefinition> _byResource;
    private readonly FrozenDictionary<(string Group, string Version, string Plural), ResourceDefinition> _byPath;
    private readonly FrozenDictionary<(string ApiVersion, string Kind), ResourceDefinition> _byKind;

    /// <summary>Makes a registry.</summary>
    /// <param name="definitions">The resources, in discovery order.</param>
    /// <exception cref="ArgumentException">Two definitions share a path or a kind.</exception>
    public ResourceRegistry(IEnumerable<ResourceDefinition> definitions)
    {
        All = [.. definitions];
        _byResource = All.ToFrozenDictionary(d => d.Resource, StringComparer.Ordinal);
        _byPath = All.ToFrozenDictionary(d => (d.Group, d.Version, d.Plural));
        _byKind = All.ToFrozenDictionary(d => (d.ApiVersion, d.Kind));
    }

    /// <summary>All resources in discovery order.</summary>
    public IReadOnlyList<ResourceDefinition> All { get; }

    /// <summary>By the key used in stores and grain keys, e.g. `pods`; null if unknown.</summary>
    public ResourceDefinition? Find(string resource) => _byResource.GetValueOrDefault(resource);

    /// <summary>By the parts of a URL; null if unknown.</summary>
    public ResourceDefinition? FindByPath(string group, string version, string plural) => _byPath.GetValueOrDefault((group, version, plural));

    /// <summary>By apiVersion and kind of a body; null if unknown.</summary>
    public ResourceDefinition? FindByKind(string apiVersion, string kind) => _byKind.GetValueOrDefault((apiVersion, kind));

    /// <summary>By key; throws for a resource that no caller should ask for.</summary>
    /// <exception cref="KeyNotFoundException">No such resource is registered.</exception>
    public ResourceDefinition Get(string resource) =>
        Find(resource) ?? throw new KeyNotFoundException($"Resource '{resource}' is not registered.");
}
