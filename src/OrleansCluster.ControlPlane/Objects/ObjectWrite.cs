using System.Text.Json.Nodes;
using OrleansCluster.Api;
using OrleansCluster.ControlPlane.Admission;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Objects;

/// <summary>
/// One decision about one write: steps (4) to (7) of <see cref="ObjectGrain"/>'s data path. Made anew for every decision, so nothing of a
/// refused one can leak into the next.
/// </summary>
internal sealed class ObjectWrite(
    ResourceDefinition definition, ObjectKey key, ObjectRequest request, StoredObject? current, int decision, ObjectGrainServices services)
{
    private readonly StrategyContext _context = new(definition, key, request.User, services.Time.GetUtcNow());

    /// <summary>Warnings for the client.</summary>
    public List<string> Warnings => _context.Warnings;

    /// <summary>Names the object shall hold, or null to keep those it has.</summary>
    public List<string>? Claims { get; private set; }

    /// <summary>The stored object, parsed; null at creation.</summary>
    public JsonObject? Old { get; private set; }

    /// <summary>The fence the commit must check.</summary>
    public Fence? Fence { get; private set; }

    /// <summary>Decides.</summary>
    /// <exception cref="StatusException">Admission refused.</exception>
    public async ValueTask<PipelineResult> DecideAsync(CancellationToken cancellationToken)
    {
        Old = current is null ? null : CanonicalJson.Parse(CanonicalJson.WithRevision(current.Value, current.Revision));
        return request.Verb switch
        {
            ObjectVerb.Create => await CreateAsync(cancellationToken),
            ObjectVerb.Delete => await DeleteAsync(cancellationToken),
            ObjectVerb.Bind => await BindAsync(cancellationToken),
            _ => await UpdateAsync(cancellationToken),
        };
    }

    /// <summary>
    /// A claim is another object's. Null: decide again, as the name was ours to choose; an error: the client chose it.
    /// </summary>
    public StatusError? ClaimRefused(string claim)
    {
        var errors = new FieldErrors();
        var asked = Asked();
        var value = claim[(claim.LastIndexOf('/') + 1)..];
        if (claim.StartsWith("ip/", StringComparison.Ordinal) && RequestedClusterIPs(asked).Contains(value))
            errors.Invalid(FieldPath.Root("spec").Child("clusterIPs"), $"[\"{value}\"]", "failed to allocate IP " + value + ": provided IP is already allocated");
        else if (claim.StartsWith("nodeport/", StringComparison.Ordinal) && RequestedNodePortIndex(asked, value) is >= 0 and var index)
            errors.Invalid(FieldPath.Root("spec").Child("ports").Index(index).Child("nodePort"), int.Parse(value), "provided port is already allocated");
        return errors.IsEmpty ? null : errors.ToStatus(definition.Kind, definition.Group, key.Name);
    }

    private async ValueTask<PipelineResult> CreateAsync(CancellationToken cancellationToken)
    {
        if (Decode(request.Body, out var obj) is { } error) // (4)
            return PipelineResult.Fail(error);
        var prepared = ObjectPipeline.PrepareCreate(obj, _context, request.NewUid); // (5)
        if (prepared.Outcome != PipelineOutcome.Write)
            return prepared;
        await AdmitAsync(AdmissionOperation.Create, prepared.Object!, cancellationToken); // (6)
        return ObjectPipeline.FinishCreate(prepared.Object!, _context); // (7)
    }

    private async ValueTask<PipelineResult> UpdateAsync(CancellationToken cancellationToken)
    {
        JsonObject body;
        if (request.Verb == ObjectVerb.Patch)
        {
            var view = (JsonObject)definition.Strategy.View((JsonObject)Old!.DeepClone(), request.Subresource);
            if (BodyDecoder.ApplyPatch(definition, view, request, _context, out body) is { } patchError) // (4)
                return PipelineResult.Fail(patchError);
        }
        else if (Decode(request.Body, out body) is { } error)
        {
            return PipelineResult.Fail(error);
        }
        return await FinishAsync(ObjectPipeline.PrepareUpdate(body, Old!, request.Subresource, _context), request.Subresource, cancellationToken);
    }

    private async ValueTask<PipelineResult> BindAsync(CancellationToken cancellationToken)
    {
        if (Decode(request.Body, out var binding) is { } error)
            return PipelineResult.Fail(error);
        if (request.NodeEpoch > 0 && (string?)binding["target"]?["name"] is { } node)
            Fence = new Fence("node/" + node, request.NodeEpoch);
        return await FinishAsync(ObjectPipeline.PrepareUpdate(binding, Old!, "binding", _context), "binding", cancellationToken);
    }

    private async ValueTask<PipelineResult> FinishAsync(PipelineResult prepared, string subresource, CancellationToken cancellationToken)
    {
        if (prepared.Outcome is not PipelineOutcome.Write) // (5)
            return prepared;
        await AdmitAsync(AdmissionOperation.Update, prepared.Object!, cancellationToken); // (6)
        return ObjectPipeline.FinishUpdate(prepared.Object!, Old!, subresource, _context); // (7)
    }

    private async ValueTask<PipelineResult> DeleteAsync(CancellationToken cancellationToken)
    {
        if (BodyDecoder.DeleteOptions(request.Body, out var options) is { } error)
            return PipelineResult.Fail(error);
        await AdmitAsync(AdmissionOperation.Delete, Old!, cancellationToken);
        return ObjectPipeline.Delete(Old!, options, _context);
    }

    private async ValueTask AdmitAsync(AdmissionOperation operation, JsonObject obj, CancellationToken cancellationToken)
    {
        var admission = new AdmissionRequest
        {
            Operation = operation,
            Definition = definition,
            Key = key,
            Subresource = request.Subresource,
            Object = obj,
            Old = Old,
            User = request.User,
            DryRun = request.DryRun,
            Attempt = decision,
            Warnings = Warnings,
        };
        await services.Admission.AdmitAsync(admission, cancellationToken);
        Claims = admission.Claims;
    }

    private StatusError? Decode(byte[] body, out JsonObject obj) => BodyDecoder.Decode(definition, body, request, _context, out obj);

    // What the client asked for, before anything was filled in. Read again: claims are refused too seldom to keep a copy of every body.
    private JsonObject Asked()
    {
        JsonObject body;
        if (request.Verb == ObjectVerb.Patch)
            _ = BodyDecoder.ApplyPatch(definition, (JsonObject)definition.Strategy.View((JsonObject)Old!.DeepClone(), request.Subresource), request, _context, out body);
        else
            _ = Decode(request.Body, out body);
        return body;
    }

    private static List<string> RequestedClusterIPs(JsonObject asked)
    {
        var spec = asked["spec"] as JsonObject;
        var list = new List<string>();
        if ((string?)spec?["clusterIP"] is { } one)
            list.Add(one);
        foreach (var ip in spec?["clusterIPs"] as JsonArray ?? [])
            list.Add((string?)ip ?? "");
        return list;
    }

    private static int RequestedNodePortIndex(JsonObject asked, string port)
    {
        var ports = asked["spec"]?["ports"] as JsonArray ?? [];
        for (var i = 0; i < ports.Count; i++)
        {
            if (ports[i]?["nodePort"]?.ToString() == port)
                return i;
        }
        return -1;
    }
}
