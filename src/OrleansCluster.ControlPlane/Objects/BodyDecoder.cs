using System.Text.Json.Nodes;
using OrleansCluster.Api;

namespace OrleansCluster.ControlPlane.Objects;

/// <summary>
/// Step (4) of a write: turns bodies into canonical objects by the schema of the kind they are of, which is the resource's own or, for a
/// subresource, that of a Scale or a Binding. Unknown and duplicate members become warnings or errors as the request asks.
/// </summary>
internal static class BodyDecoder
{
    public static StatusError? Decode(ResourceDefinition definition, byte[] body, ObjectRequest request, StrategyContext context, out JsonObject obj)
    {
        var (version, kind, schema) = BodyKind(definition, request);
        var decoded = ObjectDecoder.DecodeJson(body, schema);
        obj = decoded.Object ?? [];
        if (!decoded.Succeeded)
            return decoded.ToStatus(version, kind, body);
        return Strictness(decoded.StrictErrors, request, context, () => decoded.ToStrictStatus(version, kind));
    }

    public static StatusError? ApplyPatch(
        ResourceDefinition definition, JsonObject current, ObjectRequest request, StrategyContext context, out JsonObject obj)
    {
        var (version, kind, schema) = BodyKind(definition, request);
        obj = [];
        PatchResult patched;
        switch (request.ContentType)
        {
            case MediaTypes.JsonPatch:
                patched = JsonPatch.Apply(current, request.Body);
                break;
            case MediaTypes.MergePatch:
                patched = JsonMergePatch.Apply(current, request.Body);
                break;
            case MediaTypes.StrategicMergePatch:
                patched = StrategicMergePatch.Apply(current, request.Body, schema);
                break;
            default:
                return StatusError.UnsupportedMediaType(
                    "the body of the request was in an unknown format - accepted media types include: "
                    + $"{MediaTypes.JsonPatch}, {MediaTypes.MergePatch}, {MediaTypes.StrategicMergePatch}");
        }
        if (!patched.Succeeded)
            return patched.Error!; // Without details: with a name and no causes kubectl would print the name and drop the message.
        var canonical = ObjectDecoder.Canonicalize(patched.Object, schema);
        if (!canonical.Succeeded)
            return canonical.ToStatus(version, kind, request.Body);
        obj = canonical.Object;
        List<string> strict = [.. patched.StrictErrors, .. canonical.StrictErrors];
        return Strictness(strict, request, context,
            () => StatusError.BadRequest($"error decoding patch: strict decoding error: {string.Join(", ", strict)}"));
    }

    public static StatusError? DeleteOptions(byte[] body, out DeleteOptions options)
    {
        options = new DeleteOptions();
        if (body.Length == 0)
            return null;
        var decoded = ObjectDecoder.DecodeJson(body, SchemaCatalog.Find("", "v1", "DeleteOptions") ?? SchemaCatalog.CustomResource);
        if (!decoded.Succeeded)
            return decoded.ToStatus("v1", "DeleteOptions", body);
        try
        {
            options = Api.DeleteOptions.FromJson(decoded.Object);
            return null;
        }
        catch (StatusException error)
        {
            return error.Status;
        }
    }

    private static (string Version, string Kind, TypeSchema Schema) BodyKind(ResourceDefinition definition, ObjectRequest request)
    {
        var subresource = request.Verb == ObjectVerb.Bind ? "binding" : request.Subresource;
        var described = subresource.Length == 0 ? null : definition.Subresources.FirstOrDefault(s => s.Name == subresource);
        var group = described?.Group ?? definition.Group;
        var version = described?.Version ?? definition.Version;
        var kind = described?.Kind ?? definition.Kind;
        return (version, kind, SchemaCatalog.Find(group, version, kind) ?? SchemaCatalog.CustomResource);
    }

    private static StatusError? Strictness(IReadOnlyList<string> errors, ObjectRequest request, StrategyContext context, Func<StatusError?> refuse)
    {
        if (errors.Count == 0 || request.FieldValidation == FieldValidation.Ignore)
            return null;
        if (request.FieldValidation == FieldValidation.Strict)
            return refuse();
        context.Warnings.AddRange(errors);
        return null;
    }
}
