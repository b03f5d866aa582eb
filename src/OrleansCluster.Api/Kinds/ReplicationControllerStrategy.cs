using System.Text.Json;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>ReplicationControllers (v1). The selector is a map of labels, and both it and the labels default to the template's.</summary>
internal sealed class ReplicationControllerStrategy : ResourceStrategy
{
    private static readonly FieldPath Spec = FieldPath.Root("spec");
    private static readonly string[] Counts = ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"];

    public static ResourceDefinition Definition { get; } = new()
    {
        Group = "",
        Version = "v1",
        Kind = "ReplicationController",
        Plural = "replicationcontrollers",
        Singular = "replicationcontroller",
        Namespaced = true,
        ShortNames = ["rc"],
        Categories = ["all"],
        Subresources =
        [
            new("scale", ["get", "patch", "update"], "Scale", "autoscaling", "v1"),
            new("status", ["get", "patch", "update"], "ReplicationController"),
        ],
        Columns =
        [
            new("Name", Format: "name"), new("Desired", "integer"), new("Current", "integer"), new("Ready", "integer"), new("Age"),
            new("Containers", Priority: 1), new("Images", Priority: 1), new("Selector", Priority: 1),
        ],
        OrphanByDefault = true,
        Strategy = new ReplicationControllerStrategy(),
    };

    public override bool TracksGeneration => true;

    public override bool HasStatus => true;

    public override ScaleMapping? Scale { get; } = new(SelectorIsLabelSelector: false);

    public override IReadOnlyList<SelectableField> SelectableFields => [new("status.replicas") { Default = "0" }];

    public override void Default(JsonObject obj)
    {
        var spec = obj.EnsureObject("spec");
        spec.SetDefault("replicas", 1);
        if (spec.GetObject("template") is not { } template)
            return;
        if (template.GetObject("metadata").GetObject("labels") is { Count: > 0 } labels)
        {
            if (spec.GetObject("selector") is { Count: 0 } || !spec.Has("selector"))
                spec["selector"] = labels.DeepClone();
            var metadata = obj.EnsureObject("metadata");
            if (metadata.GetObject("labels") is null or { Count: 0 })
                metadata["labels"] = labels.DeepClone();
        }
        if (template.GetObject("spec") is { } podSpec)
            PodDefaults.Apply(podSpec, template: true);
    }

    public override void PrepareForCreate(JsonObject obj, StrategyContext context) => obj["status"] = new JsonObject { ["replicas"] = 0 };

    public override void Validate(JsonObject obj, FieldErrors errors)
    {
        var spec = obj.GetObject("spec");
        foreach (var member in (ReadOnlySpan<string>)["minReadySeconds", "replicas"])
        {
            if (spec.GetLong(member) is < 0 and var number)
                errors.Invalid(Spec.Child(member), number, ResourceRules.Negative);
        }
        var selector = spec.GetObject("selector");
        if (selector is null or { Count: 0 })
            errors.Required(Spec.Child("selector"));
        else
            MetadataRules.ValidateLabels(selector, Spec.Child("selector"), errors);
        if (spec.GetObject("template") is not { } template)
        {
            errors.Required(Spec.Child("template"));
            return;
        }
        var labels = template.GetObject("metadata").GetObject("labels");
        if (selector is { Count: > 0 } && !LabelSelector.FromLabels(selector).Matches(labels))
            errors.Invalid(Spec.Child("template").Child("metadata").Child("labels"), GoText.Map(labels), "`selector` does not match template `labels`");
        PodSpecRules.ValidateTemplate(template, Spec.Child("template"), errors);
        var podSpec = template.GetObject("spec");
        if (podSpec.GetString("restartPolicy") is not "Always" and not null and var policy)
            errors.NotSupported(Spec.Child("template").Child("spec").Child("restartPolicy"), policy, ["Always"]);
        if (podSpec.Has("activeDeadlineSeconds"))
        {
            errors.Forbidden(Spec.Child("template").Child("spec").Child("activeDeadlineSeconds"),
                "activeDeadlineSeconds in ReplicationController is not Supported");
        }
    }

    public override void ValidateStatus(JsonObject obj, JsonObject old, FieldErrors errors)
    {
        var status = obj.GetObject("status");
        var path = FieldPath.Root("status");
        foreach (var member in Counts)
        {
            if (status.GetLong(member) is < 0 and var number)
                errors.Invalid(path.Child(member), number, ResourceRules.Negative);
        }
        var replicas = status.GetLong("replicas") ?? 0;
        foreach (var member in (ReadOnlySpan<string>)["fullyLabeledReplicas", "readyReplicas", "availableReplicas"])
        {
            if (status.GetLong(member) > replicas)
                errors.Invalid(path.Child(member), status.GetLong(member), "cannot be greater than status.replicas");
        }
        if (status.GetLong("availableReplicas") > (status.GetLong("readyReplicas") ?? 0))
            errors.Invalid(path.Child("availableReplicas"), status.GetLong("availableReplicas"), "cannot be greater than readyReplicas");
    }

    public override void WriteRow(JsonElement obj, DateTimeOffset now, TableRow row)
    {
        row.AddName(obj);
        row.Add(obj.Get("spec")?.Number("replicas") ?? 0);
        row.Add(obj.Get("status")?.Number("replicas") ?? 0);
        row.Add(obj.Get("status")?.Number("readyReplicas") ?? 0);
        row.AddAge(obj, now);
        row.AddContainersAndImages(obj.Get("spec", "template")?.Get("spec"));
        row.Add(TableCells.Labels(obj.Get("spec", "selector")));
    }
}
