using System.Text.Json;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>
/// Namespaces (v1). A namespace is held by `spec.finalizers` until everything inside is gone; only the subresource `finalize` changes them.
/// </summary>
internal sealed class NamespaceStrategy : ResourceStrategy
{
    public const string NameLabel = "kubernetes.io/metadata.name";
    private const string ContentFinalizer = "kubernetes";

    public static ResourceDefinition Definition { get; } = new()
    {
        Group = "",
        Version = "v1",
        Kind = "Namespace",
        Plural = "namespaces",
        Singular = "namespace",
        Namespaced = false,
        ShortNames = ["ns"],
        Verbs = ["create", "delete", "get", "list", "patch", "update", "watch"],
        Subresources =
        [
            new("finalize", ["update"], "Namespace"),
            new("status", ["get", "patch", "update"], "Namespace"),
        ],
        Columns = [new("Name", Format: "name"), new("Status"), new("Age")],
        Strategy = new NamespaceStrategy(),
    };

    public override bool HasStatus => true;

    public override NameRule NameRule => NameRule.DnsLabel;

    public override IReadOnlyList<SelectableField> SelectableFields => [new("status.phase")];

    public override void Default(JsonObject obj)
    {
        var metadata = obj.EnsureObject("metadata");
        if (metadata.GetString("name") is { Length: > 0 } name && metadata.GetObject("labels").GetString(NameLabel) != name)
            metadata.EnsureObject("labels")[NameLabel] = name;
    }

    public override void PrepareForCreate(JsonObject obj, StrategyContext context)
    {
        var spec = obj.EnsureObject("spec");
        var finalizers = spec.Strings("finalizers").ToList();
        if (!finalizers.Contains(ContentFinalizer, StringComparer.Ordinal))
        {
            finalizers.Add(ContentFinalizer);
            spec["finalizers"] = new JsonArray([.. finalizers.Select(f => (JsonNode)f)]);
        }
        obj["status"] = new JsonObject { ["phase"] = "Active" };
    }

    public override void PrepareForUpdate(JsonObject obj, JsonObject old, StrategyContext context) =>
        obj.EnsureObject("spec").CopyMember("finalizers", old.GetObject("spec"));

    public override StatusError? ApplySubresource(JsonObject obj, JsonObject body, string subresource, StrategyContext context)
    {
        if (subresource != "finalize")
            return base.ApplySubresource(obj, body, subresource, context);
        if (body.GetString("kind") is { Length: > 0 } kind && kind != "Namespace")
            return StatusError.BadRequest($"{kind} in version \"v1\" cannot be handled as a Namespace");
        var errors = new FieldErrors();
        ValidateFinalizers(body, errors);
        if (!errors.IsEmpty)
            return errors.ToStatus("Namespace", "", context.Key.Name);
        obj.EnsureObject("spec").CopyMember("finalizers", body.GetObject("spec"));
        return null;
    }

    public override void Validate(JsonObject obj, FieldErrors errors) => ValidateFinalizers(obj, errors);

    public override void ValidateStatus(JsonObject obj, JsonObject old, FieldErrors errors)
    {
        var phase = obj.GetObject("status").GetString("phase") ?? "";
        var expected = obj.GetObject("metadata").Has("deletionTimestamp") ? "Terminating" : "Active";
        if (phase != expected)
        {
            errors.Invalid(FieldPath.Root("status").Child("Phase"), phase, expected == "Active"
                ? "may only be 'Active' if `deletionTimestamp` is empty"
                : "may only be 'Terminating' if `deletionTimestamp` is not empty");
        }
    }

    public override bool HasOwnFinalizers(JsonObject obj) => obj.GetObject("spec").GetArray("finalizers") is { Count: > 0 };

    public override void PrepareForDeletion(JsonObject obj, StrategyContext context) => obj.EnsureObject("status")["phase"] = "Terminating";

    public override void WriteRow(JsonElement obj, DateTimeOffset now, TableRow row)
    {
        row.AddName(obj);
        row.Add(obj.Text("status", "phase") ?? "");
        row.AddAge(obj, now);
    }

    private static void ValidateFinalizers(JsonObject obj, FieldErrors errors)
    {
        var path = FieldPath.Root("spec").Child("finalizers");
        foreach (var finalizer in obj.GetObject("spec").Strings("finalizers"))
        {
            if (NameSyntax.QualifiedName(finalizer) is { } wrong)
                errors.Invalid(path, finalizer, wrong);
            else if (!finalizer.Contains('/', StringComparison.Ordinal) && finalizer is not ("kubernetes" or "orphan" or "foregroundDeletion"))
                errors.Invalid(path, finalizer, "name is neither a standard finalizer name nor is it fully qualified");
        }
    }
}
