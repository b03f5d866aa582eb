using System.Text.Json;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>Leases (coordination.k8s.io/v1): who holds a role, and until when. Written blindly they would be worthless, so a PUT needs its version.</summary>
internal sealed class LeaseStrategy : ResourceStrategy
{
    private static readonly FieldPath Spec = FieldPath.Root("spec");

    public static ResourceDefinition Definition { get; } = new()
    {
        Group = "coordination.k8s.io",
        Version = "v1",
        Kind = "Lease",
        Plural = "leases",
        Singular = "lease",
        Namespaced = true,
        Columns = [new("Name", Format: "name"), new("Holder"), new("Age")],
        AllowCreateOnUpdate = true,
        AllowUnconditionalUpdate = false,
        Strategy = new LeaseStrategy(),
    };

    public override void Validate(JsonObject obj, FieldErrors errors)
    {
        var spec = obj.GetObject("spec");
        if (spec.Has("leaseDurationSeconds") && spec.GetLong("leaseDurationSeconds") is not > 0 and var duration)
            errors.Invalid(Spec.Child("leaseDurationSeconds"), duration, "must be greater than 0");
        if (spec.GetLong("leaseTransitions") is < 0 and var transitions)
            errors.Invalid(Spec.Child("leaseTransitions"), transitions, "must be greater than or equal to 0");
    }

    public override void WriteRow(JsonElement obj, DateTimeOffset now, TableRow row)
    {
        row.AddName(obj);
        row.Add(obj.Text("spec", "holderIdentity") ?? "");
        row.AddAge(obj, now);
    }
}
