using System.Text.Json.Nodes;
using OrleansCluster.Api;

namespace OrleansCluster.ControlPlane.Admission;

/// <summary>Which write is being admitted.</summary>
public enum AdmissionOperation
{
    /// <summary>A new object.</summary>
    Create,

    /// <summary>A change, of the object or of a subresource.</summary>
    Update,

    /// <summary>A deletion; <see cref="AdmissionRequest.Object"/> is the stored object.</summary>
    Delete,
}

/// <summary>
/// A step between a request's preparation and its validation. It may change <see cref="AdmissionRequest.Object"/> (not on a deletion), claim
/// exclusive names, or refuse by throwing <see cref="StatusException"/>. It must be idempotent: a commit that meets a conflict runs it again
/// with <see cref="AdmissionRequest.Attempt"/> raised. A step is one class and one registration
/// (<c>services.AddSingleton&lt;IAdmissionStep, X&gt;()</c>); steps run in the order of registration.
/// </summary>
public interface IAdmissionStep
{
    /// <summary>The resources it looks at, or null for all.</summary>
    IReadOnlyCollection<string>? Resources { get; }

    /// <summary>Admits one write.</summary>
    /// <exception cref="StatusException">The write is refused.</exception>
    ValueTask AdmitAsync(AdmissionRequest request, CancellationToken cancellationToken);
}

/// <summary>A write on its way through admission.</summary>
public sealed class AdmissionRequest
{
    /// <summary>Which write.</summary>
    public required AdmissionOperation Operation { get; init; }

    /// <summary>The resource.</summary>
    public required ResourceDefinition Definition { get; init; }

    /// <summary>The object's key.</summary>
    public required ObjectKey Key { get; init; }

    /// <summary>Subresource, or the empty string.</summary>
    public required string Subresource { get; init; }

    /// <summary>The object as it would be written.</summary>
    public required JsonObject Object { get; init; }

    /// <summary>The stored object, or null at creation. Not to be changed.</summary>
    public JsonObject? Old { get; init; }

    /// <summary>The caller.</summary>
    public required UserInfo User { get; init; }

    /// <summary>True if nothing will be written.</summary>
    public bool DryRun { get; init; }

    /// <summary>How often this write has been decided, from 0: a step that picked a name in conflict picks another.</summary>
    public int Attempt { get; init; }

    /// <summary>Names the object shall hold exclusively within its resource; null keeps those it has.</summary>
    public List<string>? Claims { get; set; }

    /// <summary>Warnings for the client.</summary>
    public List<string> Warnings { get; init; } = [];

    /// <summary>A refusal in the form `RESOURCE "NAME" is forbidden: why`.</summary>
    public StatusException Forbidden(string why) =>
        new(StatusError.Forbidden(Definition.Plural, Definition.Group, Key.Name, why));
}

/// <summary>All steps in order, looked up by resource once.</summary>
public sealed class AdmissionChain
{
    private readonly IAdmissionStep[] _general;
    private readonly Dictionary<string, IAdmissionStep[]> _byResource = new(StringComparer.Ordinal);

    /// <summary>Makes the chain.</summary>
    public AdmissionChain(IEnumerable<IAdmissionStep> steps)
    {
        var all = steps.ToArray();
        _general = [.. all.Where(s => s.Resources is null)];
        foreach (var resource in all.SelectMany(s => s.Resources ?? []).Distinct(StringComparer.Ordinal))
            _byResource[resource] = [.. all.Where(s => s.Resources is null || s.Resources.Contains(resource))];
    }

    /// <summary>Runs the steps for one write.</summary>
    /// <exception cref="StatusException">A step refused.</exception>
    public async ValueTask AdmitAsync(AdmissionRequest request, CancellationToken cancellationToken)
    {
        foreach (var step in _byResource.GetValueOrDefault(request.Definition.Resource, _general))
            await step.AdmitAsync(request, cancellationToken);
    }
}
