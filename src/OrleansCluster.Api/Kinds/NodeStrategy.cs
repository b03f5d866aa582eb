using System.Text.Json;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>Nodes (v1). A node agent registers its node together with its status.</summary>
internal sealed class NodeStrategy : ResourceStrategy
{
    private const string RolePrefix = "node-role.kubernetes.io/";
    private const string RoleLabel = "kubernetes.io/role";
    private static readonly string[] Effects = ["NoExecute", "NoSchedule", "PreferNoSchedule"];

    public static ResourceDefinition Definition { get; } = new()
    {
        Group = "",
        Version = "v1",
        Kind = "Node",
        Plural = "nodes",
        Singular = "node",
        Namespaced = false,
        ShortNames = ["no"],
        Subresources = [new("status", ["get", "patch", "update"], "Node")],
        Columns =
        [
            new("Name", Format: "name"), new("Status"), new("Roles"), new("Age"), new("Version"), new("Internal-IP", Priority: 1),
            new("External-IP", Priority: 1), new("OS-Image", Priority: 1), new("Kernel-Version", Priority: 1), new("Container-Runtime", Priority: 1),
        ],
        Strategy = new NodeStrategy(),
    };

    public override bool HasStatus => true;

    public override bool KeepsStatusOnCreate => true;

    public override IReadOnlyList<SelectableField> SelectableFields => [new("spec.unschedulable") { Default = "false" }];

    public override void Default(JsonObject obj)
    {
        if (obj.GetObject("status") is { } status && status.GetObject("capacity") is { Count: > 0 } capacity && status.GetObject("allocatable") is null or { Count: 0 })
            status["allocatable"] = capacity.DeepClone();
    }

    public override void Validate(JsonObject obj, FieldErrors errors)
    {
        var spec = obj.GetObject("spec");
        ValidateTaints(spec, errors);
        ValidatePodNetworks(spec, errors);
        ValidateAmounts(obj, errors);
    }

    public override void ValidateUpdate(JsonObject obj, JsonObject old, FieldErrors errors)
    {
        var spec = obj.GetObject("spec");
        var oldSpec = old.GetObject("spec");
        if (oldSpec.GetString("podCIDR") is { Length: > 0 } podCidr && podCidr != spec.GetString("podCIDR"))
            errors.Forbidden(FieldPath.Root("spec").Child("podCIDRs"), "node updates may not change podCIDR except from \"\" to valid");
        if (oldSpec.GetString("providerID") is { Length: > 0 } provider && provider != spec.GetString("providerID"))
            errors.Forbidden(FieldPath.Root("spec").Child("providerID"), "node updates may not change providerID except from \"\" to valid");
    }

    public override void ValidateStatus(JsonObject obj, JsonObject old, FieldErrors errors)
    {
        ValidateAmounts(obj, errors);
        var seen = new HashSet<(string?, string?)>();
        foreach (var (index, address) in obj.GetObject("status").Items("addresses"))
        {
            if (!seen.Add((address.GetString("type"), address.GetString("address"))))
                errors.Duplicate(FieldPath.Root("status").Child("addresses").Index(index), address);
        }
    }

    public override void WriteRow(JsonElement obj, DateTimeOffset now, TableRow row)
    {
        row.AddName(obj);
        row.Add(StatusCell(obj));
        row.Add(Roles(obj));
        row.AddAge(obj, now);
        row.Add(obj.Get("status", "nodeInfo")?.Text("kubeletVersion") ?? "");
        row.Add(Address(obj, "InternalIP"));
        row.Add(Address(obj, "ExternalIP"));
        foreach (var member in (ReadOnlySpan<string>)["osImage", "kernelVersion", "containerRuntimeVersion"])
            row.Add(obj.Get("status", "nodeInfo")?.Text(member) is { Length: > 0 } text ? text : "<unknown>");
    }

    private static string StatusCell(JsonElement obj)
    {
        var status = "Unknown";
        if (obj.Get("status") is { } reported)
        {
            foreach (var condition in reported.Items("conditions"))
            {
                if (condition.Text("type") == "Ready")
                    status = condition.Text("status") == "True" ? "Ready" : "NotReady";
            }
        }
        return obj.Get("spec", "unschedulable") is { ValueKind: JsonValueKind.True } ? status + ",SchedulingDisabled" : status;
    }

    private static string Roles(JsonElement obj)
    {
        var roles = new SortedSet<string>(StringComparer.Ordinal);
        if (obj.Get("metadata", "labels") is { ValueKind: JsonValueKind.Object } labels)
        {
            foreach (var label in labels.EnumerateObject())
            {
                if (label.Name.StartsWith(RolePrefix, StringComparison.Ordinal) && label.Name.Length > RolePrefix.Length)
                    roles.Add(label.Name[RolePrefix.Length..]);
                else if (label.Name == RoleLabel && label.Value.GetString() is { Length: > 0 } role)
                    roles.Add(role);
            }
        }
        return roles.Count == 0 ? "<none>" : string.Join(',', roles);
    }

    private static string Address(JsonElement obj, string type)
    {
        if (obj.Get("status") is { } status)
        {
            foreach (var address in status.Items("addresses"))
            {
                if (address.Text("type") == type)
                    return address.Text("address") ?? "<none>";
            }
        }
        return "<none>";
    }

    private static void ValidateTaints(JsonObject? spec, FieldErrors errors)
    {
        var seen = new HashSet<(string, string)>();
        foreach (var (index, taint) in spec.Items("taints"))
        {
            var path = FieldPath.Root("spec").Child("taints").Index(index);
            var key = taint.GetString("key") ?? "";
            errors.InvalidIf(NameSyntax.QualifiedName(key), path.Child("key"), key);
            var value = taint.GetString("value") ?? "";
            errors.InvalidIf(NameSyntax.LabelValue(value), path.Child("value"), value);
            var effect = taint.GetString("effect") ?? "";
            if (effect.Length == 0)
                errors.Required(path.Child("effect"));
            else if (!Effects.Contains(effect, StringComparer.Ordinal))
                errors.NotSupported(path.Child("effect"), effect, Effects);
            if (!seen.Add((key, effect)))
                errors.Duplicate(path, taint);
        }
    }

    private static void ValidatePodNetworks(JsonObject? spec, FieldErrors errors)
    {
        var path = FieldPath.Root("spec").Child("podCIDRs");
        var index = 0;
        foreach (var network in spec.Strings("podCIDRs"))
        {
            if (!System.Net.IPNetwork.TryParse(network, out _))
                errors.Invalid(path.Index(index), network, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
            if (index == 0 && spec.GetString("podCIDR") is { Length: > 0 } first && first != network)
                errors.Invalid(path.Index(0), network, "must be equal to podCIDR");
            index++;
        }
    }

    private static void ValidateAmounts(JsonObject obj, FieldErrors errors)
    {
        var status = obj.GetObject("status");
        foreach (var member in (ReadOnlySpan<string>)["capacity", "allocatable"])
            ResourceRules.ValidateAmounts(status.GetObject(member), FieldPath.Root("status").Child(member), errors);
    }
}
