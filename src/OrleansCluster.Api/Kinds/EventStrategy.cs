using System.Text.Json;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>Events (v1): short-lived notes about other objects. Nothing depends on an Event.</summary>
internal sealed class EventStrategy : ResourceStrategy
{
    public static ResourceDefinition Definition { get; } = new()
    {
        Group = "",
        Version = "v1",
        Kind = "Event",
        Plural = "events",
        Singular = "event",
        Namespaced = true,
        ShortNames = ["ev"],
        Columns =
        [
            new("Last Seen"), new("Type"), new("Reason"), new("Object"), new("Subobject", Priority: 1), new("Source", Priority: 1), new("Message"),
            new("First Seen", Priority: 1), new("Count", Priority: 1), new("Name", Priority: 1, Format: "name"),
        ],
        AllowCreateOnUpdate = true,
        TimeToLive = TimeSpan.FromHours(1),
        Strategy = new EventStrategy(),
    };

    public override bool CollectsDependents => false;

    public override IReadOnlyList<SelectableField> SelectableFields { get; } =
    [
        new("involvedObject.kind"),
        new("involvedObject.namespace"),
        new("involvedObject.name"),
        new("involvedObject.uid"),
        new("involvedObject.apiVersion"),
        new("involvedObject.resourceVersion"),
        new("involvedObject.fieldPath"),
        new("reason"),
        new("reportingComponent"),
        new("source", "source.component", "reportingComponent"),
        new("type"),
    ];

    public override void Validate(JsonObject obj, FieldErrors errors)
    {
        var @namespace = obj.GetObject("metadata").GetString("namespace");
        var about = obj.GetObject("involvedObject").GetString("namespace") ?? "";
        // Events of cluster-scoped objects live in `default`; node agents used to write them to kube-system.
        var matches = about.Length == 0 ? @namespace is "default" or "kube-system" : about == @namespace;
        if (!matches)
            errors.Invalid(FieldPath.Root("involvedObject").Child("namespace"), about, "does not match event.namespace");
    }

    public override void WriteRow(JsonElement obj, DateTimeOffset now, TableRow row)
    {
        var first = Present(obj.Text("firstTimestamp")) ?? Present(obj.Text("eventTime"));
        var series = obj.Get("series");
        var last = series?.Text("lastObservedTime") ?? Present(obj.Text("lastTimestamp")) ?? first;
        var count = series?.Number("count") ?? obj.Number("count");
        row.Add(HumanDuration.Age(last, now));
        row.Add(obj.Text("type") ?? "");
        row.Add(obj.Text("reason") ?? "");
        row.Add(Target(obj));
        row.Add(obj.Text("involvedObject", "fieldPath") ?? "");
        row.Add(Source(obj));
        row.Add((obj.Text("message") ?? "").Trim());
        row.Add(HumanDuration.Age(first, now));
        row.Add(count == 0 ? 1 : count);
        row.AddName(obj);
    }

    private static string Target(JsonElement obj)
    {
        var kind = (obj.Text("involvedObject", "kind") ?? "").ToLowerInvariant();
        return obj.Text("involvedObject", "name") is { Length: > 0 } name ? $"{kind}/{name}" : kind;
    }

    private static string Source(JsonElement obj)
    {
        var component = Present(obj.Text("source", "component")) ?? obj.Text("reportingComponent") ?? "";
        var host = Present(obj.Text("source", "host")) ?? obj.Text("reportingInstance") ?? "";
        return host.Length == 0 ? component : $"{component}, {host}";
    }

    private static string? Present(string? text) => text is { Length: > 0 } ? text : null;
}
