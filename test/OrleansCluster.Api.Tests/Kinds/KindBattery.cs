using System.Text.Json;
using System.Text.Json.Nodes;
using OrleansCluster.Api;

namespace OrleansCluster.Tests.Api;

/// <summary>What holds for every kind. It runs over all registered resources, so that none can be left out.</summary>
public sealed class KindBattery
{
    public static TheoryData<string> Resources => new(BuiltInResources.All.Select(d => d.Resource));

    private static readonly ResourceRegistry Registry = new(BuiltInResources.All);

    [Theory, MemberData(nameof(Resources))]
    public void Create_sets_what_the_server_owns(string resource)
    {
        var definition = Registry.Get(resource);
        var obj = SampleObjects.Make(definition);
        var metadata = obj["metadata"]!.AsObject();
        metadata["uid"] = "mine";
        metadata["creationTimestamp"] = "1999-01-01T00:00:00Z";
        metadata["deletionTimestamp"] = "1999-01-01T00:00:00Z";
        metadata["generation"] = 99;

        var stored = SampleObjects.Stored(definition, obj);

        metadata = stored["metadata"]!.AsObject();
        Assert.Equal("11111111-2222-3333-4444-555555555555", metadata.GetString("uid"));
        Assert.Equal("2026-01-02T03:04:05Z", metadata.GetString("creationTimestamp"));
        Assert.False(metadata.Has("deletionTimestamp"));
        Assert.Equal(definition.Strategy.TracksGeneration ? 1 : null, metadata.GetLong("generation"));
        Assert.Equal(definition.Namespaced ? "ns" : null, metadata.GetString("namespace"));
    }

    [Theory, MemberData(nameof(Resources))]
    public void Create_drops_a_status_that_is_not_the_clients_to_set(string resource)
    {
        var definition = Registry.Get(resource);
        if (!definition.Strategy.HasStatus)
            return;
        var obj = SampleObjects.Make(definition);
        obj["status"] = new JsonObject { ["x-mine"] = "y" };

        Assert.Equal(definition.Strategy.KeepsStatusOnCreate, SampleObjects.Stored(definition, obj).GetObject("status").Has("x-mine"));
    }

    [Theory, MemberData(nameof(Resources))]
    public void Create_takes_the_generated_name_from_the_key(string resource)
    {
        var definition = Registry.Get(resource);
        var obj = SampleObjects.Make(definition);
        var metadata = obj["metadata"]!.AsObject();
        metadata.Remove("name");
        metadata["generateName"] = "sam-";

        Assert.Equal("sample", SampleObjects.Stored(definition, obj)["metadata"]!.AsObject().GetString("name"));
    }

    [Theory, MemberData(nameof(Resources))]
    public void Create_with_another_name_kind_or_version_is_refused(string resource)
    {
        var definition = Registry.Get(resource);
        var obj = SampleObjects.Make(definition);
        obj["metadata"]!["name"] = "other";
        Assert.Equal("the name of the object (other) does not match the name on the URL (sample)", SampleObjects.Create(definition, obj).Error?.Message);

        obj = SampleObjects.Make(definition);
        obj["apiVersion"] = "v0";
        Assert.Equal($"the API version in the data (v0) does not match the expected API version ({definition.ApiVersion})",
            SampleObjects.Create(definition, obj).Error?.Message);

        obj = SampleObjects.Make(definition);
        obj["kind"] = "Toaster";
        Assert.Equal(400, SampleObjects.Create(definition, obj).Error?.Code);
    }

    [Theory, MemberData(nameof(Resources))]
    public void Create_in_another_namespace_is_refused(string resource)
    {
        var definition = Registry.Get(resource);
        var obj = SampleObjects.Make(definition);
        obj["metadata"]!["namespace"] = "other";
        Assert.Equal(definition.Namespaced ? "the namespace of the provided object does not match the namespace sent on the request" : null,
            SampleObjects.Create(definition, obj).Error?.Message);
    }

    [Theory, MemberData(nameof(Resources))]
    public void Bad_labels_annotations_finalizers_and_owners_are_named(string resource)
    {
        var definition = Registry.Get(resource);
        var obj = SampleObjects.Make(definition);
        obj["metadata"]!["labels"] = new JsonObject { ["a b"] = "v", ["ok"] = "-" };
        obj["metadata"]!["annotations"] = new JsonObject { ["/x"] = "", ["big"] = new string('x', 300_000) };
        obj["metadata"]!["finalizers"] = new JsonArray("nosuch");
        obj["metadata"]!["ownerReferences"] = JsonNode.Parse(
            """[{"apiVersion":"v1","kind":"A","name":"a","uid":"1","controller":true},{"apiVersion":"v1","kind":"B","name":"b","uid":"2","controller":true},{}]""");

        var error = SampleObjects.Create(definition, obj).Error;

        Assert.Equal(422, error?.Code);
        Assert.Equal(
            [
                "metadata.ownerReferences", "metadata.ownerReferences.apiVersion", "metadata.ownerReferences.kind", "metadata.ownerReferences.name",
                "metadata.ownerReferences.uid", "metadata.finalizers[0]", "metadata.labels", "metadata.labels", "metadata.annotations", "metadata.annotations",
            ],
            error!.Causes.Select(c => c.Field));
    }

    [Theory, MemberData(nameof(Resources))]
    public void Update_without_a_change_writes_nothing(string resource)
    {
        var definition = Registry.Get(resource);
        var stored = SampleObjects.Stored(definition);

        var result = SampleObjects.Update(definition, stored, stored);

        Assert.Null(result.Error);
        Assert.Equal(PipelineOutcome.Unchanged, result.Outcome);
    }

    [Theory, MemberData(nameof(Resources))]
    public void Update_of_labels_keeps_everything_else(string resource)
    {
        var definition = Registry.Get(resource);
        var stored = SampleObjects.Stored(definition);
        var obj = (JsonObject)stored.DeepClone();
        obj["metadata"]!.AsObject().EnsureObject("labels")["new"] = "label";
        obj["metadata"]!.AsObject().Remove("uid");
        obj["metadata"]!.AsObject().Remove("creationTimestamp");
        if (definition.Strategy.HasStatus)
            obj["status"] = new JsonObject { ["x-mine"] = "y" };

        var result = SampleObjects.Update(definition, obj, stored);

        Assert.Null(result.Error);
        Assert.Equal(PipelineOutcome.Write, result.Outcome);
        Assert.Equal("label", result.Object!["metadata"]!["labels"]!["new"]!.GetValue<string>());
        Assert.Equal(stored["metadata"]!["uid"]!.GetValue<string>(), result.Object["metadata"]!["uid"]!.GetValue<string>());
        Assert.Equal(stored["metadata"]!["creationTimestamp"]!.GetValue<string>(), result.Object["metadata"]!["creationTimestamp"]!.GetValue<string>());
        Assert.False(result.Object.GetObject("status").Has("x-mine"));
    }

    [Theory, MemberData(nameof(Resources))]
    public void Update_with_a_stale_version_or_another_uid_conflicts(string resource)
    {
        var definition = Registry.Get(resource);
        var stored = SampleObjects.Stored(definition);
        var obj = (JsonObject)stored.DeepClone();
        obj["metadata"]!["resourceVersion"] = "6";
        Assert.Equal($"Operation cannot be fulfilled on {definition.Resource} \"sample\": the object has been modified; please apply your changes to the latest version and try again",
            SampleObjects.Update(definition, obj, stored).Error?.Message);

        obj = (JsonObject)stored.DeepClone();
        obj["metadata"]!["uid"] = "other";
        Assert.Equal(409, SampleObjects.Update(definition, obj, stored).Error?.Code);
    }

    [Theory, MemberData(nameof(Resources))]
    public void Update_without_a_version_is_unconditional_or_refused(string resource)
    {
        var definition = Registry.Get(resource);
        var stored = SampleObjects.Stored(definition);
        var obj = (JsonObject)stored.DeepClone();
        obj["metadata"]!.AsObject().Remove("resourceVersion");

        var error = SampleObjects.Update(definition, obj, stored).Error;

        if (definition.AllowUnconditionalUpdate)
            Assert.Null(error);
        else
            Assert.Contains("metadata.resourceVersion: Invalid value: 0x0: must be specified for an update", error?.Message, StringComparison.Ordinal);
    }

    [Theory, MemberData(nameof(Resources))]
    public void Update_cannot_change_times(string resource)
    {
        var definition = Registry.Get(resource);
        var stored = SampleObjects.Stored(definition);
        var obj = (JsonObject)stored.DeepClone();
        obj["metadata"]!["creationTimestamp"] = "1999-01-01T00:00:00Z";
        obj["metadata"]!["deletionTimestamp"] = "1999-01-01T00:00:00Z";

        var error = SampleObjects.Update(definition, obj, stored).Error;

        Assert.Equal(["metadata.creationTimestamp", "metadata.deletionTimestamp"], error?.Causes.Select(c => c.Field));
        Assert.All(error!.Causes, c => Assert.EndsWith("field is immutable", c.Message, StringComparison.Ordinal));
    }

    [Theory, MemberData(nameof(Resources))]
    public void Status_write_keeps_the_rest_and_counts_no_generation(string resource)
    {
        var definition = Registry.Get(resource);
        var stored = SampleObjects.Stored(definition);
        var obj = (JsonObject)stored.DeepClone();
        obj.EnsureObject("status")["x-probe"] = "y";
        obj["x-spec"] = "dropped";

        var result = SampleObjects.Update(definition, obj, stored, "status");

        if (!definition.Strategy.HasStatus)
        {
            Assert.Equal(404, result.Error?.Code);
            return;
        }
        Assert.Null(result.Error);
        Assert.Equal(PipelineOutcome.Write, result.Outcome);
        Assert.True(result.Object.GetObject("status").Has("x-probe"));
        Assert.False(result.Object.Has("x-spec"));
        Assert.Equal(stored["metadata"]!.AsObject().GetLong("generation"), result.Object!["metadata"]!.AsObject().GetLong("generation"));
    }

    [Theory, MemberData(nameof(Resources))]
    public void Delete_honours_preconditions(string resource)
    {
        var definition = Registry.Get(resource);
        var stored = SampleObjects.Stored(definition);
        var context = SampleObjects.Context(definition);
        Assert.Equal(409, ObjectPipeline.Delete(stored, new DeleteOptions(PreconditionUid: "other"), context).Error?.Code);
        Assert.Equal(409, ObjectPipeline.Delete(stored, new DeleteOptions(PreconditionResourceVersion: "6"), context).Error?.Code);
        Assert.Null(ObjectPipeline.Delete(stored, new DeleteOptions(PreconditionResourceVersion: "7"), context).Error);
        Assert.Equal(422, ObjectPipeline.Delete(stored, new DeleteOptions(PropagationPolicy: "Orphan") { OrphanDependents = true }, context).Error?.Code);
        Assert.Equal(422, ObjectPipeline.Delete(stored, new DeleteOptions(PropagationPolicy: "Sideways"), context).Error?.Code);
    }

    [Theory, MemberData(nameof(Resources))]
    public void Delete_waits_for_finalizers_and_the_last_one_removes(string resource)
    {
        var definition = Registry.Get(resource);
        var obj = SampleObjects.Make(definition);
        obj["metadata"]!["finalizers"] = new JsonArray("example.com/hold");
        var stored = SampleObjects.Stored(definition, obj);

        var deleted = ObjectPipeline.Delete(stored, new DeleteOptions(), SampleObjects.Context(definition));

        Assert.Equal(PipelineOutcome.Write, deleted.Outcome);
        var metadata = deleted.Object!["metadata"]!.AsObject();
        Assert.Equal("2026-01-02T03:04:05Z", metadata.GetString("deletionTimestamp"));
        Assert.Equal(0, metadata.GetLong("deletionGracePeriodSeconds"));
        Assert.Equal(definition.Strategy.TracksGeneration ? 2 : null, metadata.GetLong("generation"));

        var again = ObjectPipeline.Delete(deleted.Object, new DeleteOptions(), SampleObjects.Context(definition));
        Assert.Equal(PipelineOutcome.Unchanged, again.Outcome);

        var more = (JsonObject)deleted.Object.DeepClone();
        more["metadata"]!["finalizers"] = new JsonArray("example.com/hold", "example.com/more");
        Assert.Contains("no new finalizers can be added if the object is being deleted, found new finalizers []string{\"example.com/more\"}",
            SampleObjects.Update(definition, more, deleted.Object).Error?.Message, StringComparison.Ordinal);

        var free = (JsonObject)deleted.Object.DeepClone();
        free["metadata"]!.AsObject().Remove("finalizers");
        var removed = SampleObjects.Update(definition, free, deleted.Object);
        Assert.Null(removed.Error);
        Assert.Equal(definition.Strategy.HasOwnFinalizers(free) ? PipelineOutcome.Write : PipelineOutcome.Remove, removed.Outcome);
    }

    [Theory, MemberData(nameof(Resources))]
    public void Delete_turns_the_policy_into_finalizers(string resource)
    {
        var definition = Registry.Get(resource);
        var stored = SampleObjects.Stored(definition);
        var context = SampleObjects.Context(definition);
        var collects = definition.Strategy.CollectsDependents;
        Assert.Equal(collects ? ["foregroundDeletion"] : [], Finalizers("Foreground"));
        Assert.Equal(collects ? ["orphan"] : [], Finalizers("Orphan"));
        Assert.Empty(Finalizers("Background"));
        Assert.Equal(definition.OrphanByDefault ? ["orphan"] : [], Finalizers(null));

        IEnumerable<string> Finalizers(string? policy) =>
            ObjectPipeline.Delete(stored, new DeleteOptions(PropagationPolicy: policy), context).Object!["metadata"]!.AsObject().Strings("finalizers");
    }

    [Theory, MemberData(nameof(Resources))]
    public void Defaults_are_idempotent(string resource)
    {
        var definition = Registry.Get(resource);
        var stored = SampleObjects.Stored(definition);
        var again = (JsonObject)stored.DeepClone();
        definition.Strategy.Default(again);
        Assert.True(JsonNode.DeepEquals(stored, again));
    }

    // A patch decodes the stored object anew: if that changed it, every patch would look like a change.
    [Theory, MemberData(nameof(Resources))]
    public void The_stored_form_is_canonical(string resource)
    {
        var definition = Registry.Get(resource);
        var stored = SampleObjects.Stored(definition);
        var type = SchemaCatalog.Find(definition.Group, definition.Version, definition.Kind)!;
        var decoded = ObjectDecoder.Canonicalize(stored, type);
        Assert.Empty(decoded.StrictErrors);
        Assert.Equal(stored.ToJsonString(), Reordered(decoded.Object!, stored).ToJsonString());

        static JsonNode Reordered(JsonNode node, JsonNode like) => JsonNode.DeepEquals(node, like) ? like : node;
    }

    [Theory, MemberData(nameof(Resources))]
    public void A_row_has_a_cell_for_every_column(string resource)
    {
        var definition = Registry.Get(resource);
        foreach (var obj in new[] { SampleObjects.Stored(definition), new JsonObject { ["metadata"] = new JsonObject { ["name"] = "bare" } } })
        {
            var row = new TableRow();
            using var document = JsonDocument.Parse(obj.ToJsonString());
            definition.Strategy.WriteRow(document.RootElement, SampleObjects.Now, row);
            Assert.Equal(definition.Columns.Count, row.Cells.Count);
        }
    }

    [Theory, MemberData(nameof(Resources))]
    public void Members_of_wrong_types_never_throw(string resource)
    {
        var definition = Registry.Get(resource);
        foreach (var junk in new[] { "null", "7", "\"x\"", "[]", "{}", "[7]", "[[]]", "{\"a\":7}", "true" })
        {
            foreach (var member in new[] { "spec", "status", "data", "rules", "subjects", "roleRef", "subsets", "endpoints", "ports", "involvedObject", "type", "metadata" })
            {
                var obj = SampleObjects.Make(definition);
                obj[member] = JsonNode.Parse(junk);
                var result = SampleObjects.Create(definition, obj);
                Assert.InRange(result.Error?.Code ?? 200, 200, 499);
            }
        }
    }

    [Theory, MemberData(nameof(Resources))]
    public void The_header_tells_what_the_object_says(string resource)
    {
        var definition = Registry.Get(resource);
        var obj = SampleObjects.Make(definition);
        obj["metadata"]!["labels"] = new JsonObject { ["app"] = "web", ["tier"] = "front" };
        obj["metadata"]!["finalizers"] = new JsonArray("example.com/hold");
        obj["metadata"]!["ownerReferences"] = JsonNode.Parse(
            """[{"apiVersion":"v1","kind":"A","name":"a","uid":"1"},{"apiVersion":"v1","kind":"B","name":"b","uid":"2","controller":true}]""");
        var bytes = CanonicalJson.WithRevision(CanonicalJson.Serialize(SampleObjects.Stored(definition, obj)), 42);

        var header = ObjectHeader.Read(bytes, definition);

        Assert.Equal(("sample", definition.Namespaced ? "ns" : "", 42), (header.Name, header.Namespace, header.ResourceVersion));
        Assert.Equal("11111111-2222-3333-4444-555555555555", header.Uid);
        Assert.Equal("web", header.Label("app"));
        Assert.Equal("front", header.Label("tier"));
        Assert.Equal("2", header.ControllerUid);
        Assert.Equal(["1", "2"], header.OwnerUids);
        Assert.True(header.HasFinalizers);
        Assert.False(header.IsDeleting);
        Assert.All(definition.Strategy.SelectableFields, f => Assert.NotNull(header.Field(f.Label)));
        Assert.Null(header.Field("no.such"));
    }
}
