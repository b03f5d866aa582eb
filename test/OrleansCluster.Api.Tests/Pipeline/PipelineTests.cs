using System.Text.Json.Nodes;
using OrleansCluster.Api;

namespace OrleansCluster.Tests.Api;

/// <summary>What single kinds make of the template: grace, scale, finalize, binding, generation.</summary>
public sealed class PipelineTests
{
    private static readonly ResourceRegistry Registry = new(BuiltInResources.All);
    private static readonly ResourceDefinition Pods = Registry.Get("pods");
    private static readonly ResourceDefinition Controllers = Registry.Get("replicationcontrollers");
    private static readonly ResourceDefinition Namespaces = Registry.Get("namespaces");
    private static readonly ResourceDefinition Services = Registry.Get("services");

    [Theory]
    [InlineData(null, 30)]
    [InlineData(5L, 5)]
    [InlineData(-1L, 1)]
    public void Deleting_a_bound_pod_gives_it_grace(long? requested, long grace)
    {
        var pod = Bound();

        var result = ObjectPipeline.Delete(pod, new DeleteOptions(requested), SampleObjects.Context(Pods));

        Assert.Equal(PipelineOutcome.Write, result.Outcome);
        Assert.Equal(grace, Meta(result).GetLong("deletionGracePeriodSeconds"));
        Assert.Equal(KubernetesTime.Format(SampleObjects.Now.AddSeconds(grace)), Meta(result).GetString("deletionTimestamp"));
    }

    [Fact]
    public void A_second_deletion_only_shortens()
    {
        var context = SampleObjects.Context(Pods);
        var marked = ObjectPipeline.Delete(Bound(), new DeleteOptions(), context).Object!;

        Assert.Equal(PipelineOutcome.Unchanged, ObjectPipeline.Delete(marked, new DeleteOptions(60), context).Outcome);
        Assert.Equal(PipelineOutcome.Unchanged, ObjectPipeline.Delete(marked, new DeleteOptions(), context).Outcome);
        var shorter = ObjectPipeline.Delete(marked, new DeleteOptions(10), SampleObjects.Context(Pods, now: SampleObjects.Now.AddSeconds(5)));
        Assert.Equal(PipelineOutcome.Write, shorter.Outcome);
        Assert.Equal(KubernetesTime.Format(SampleObjects.Now.AddSeconds(10)), Meta(shorter).GetString("deletionTimestamp"));
        Assert.Equal(PipelineOutcome.Remove, ObjectPipeline.Delete(marked, new DeleteOptions(0), context).Outcome);
    }

    [Fact]
    public void Unbound_and_finished_pods_go_at_once()
    {
        var context = SampleObjects.Context(Pods);
        Assert.Equal(PipelineOutcome.Remove, ObjectPipeline.Delete(SampleObjects.Stored(Pods), new DeleteOptions(), context).Outcome);
        var finished = Bound();
        finished["status"]!["phase"] = "Succeeded";
        Assert.Equal(PipelineOutcome.Remove, ObjectPipeline.Delete(finished, new DeleteOptions(), context).Outcome);
    }

    [Fact]
    public void A_finalizer_outlasts_the_grace()
    {
        var pod = Bound();
        pod["metadata"]!["finalizers"] = new JsonArray("example.com/hold");
        var context = SampleObjects.Context(Pods);
        var marked = ObjectPipeline.Delete(pod, new DeleteOptions(), context).Object!;

        // The finalizer goes first: the pod stays until its node agent is through.
        var free = (JsonObject)marked.DeepClone();
        free["metadata"]!.AsObject().Remove("finalizers");
        Assert.Equal(PipelineOutcome.Write, SampleObjects.Update(Pods, free, marked).Outcome);

        // The node agent is through first: the pod stays until the finalizer goes.
        var ended = ObjectPipeline.Delete(marked, new DeleteOptions(0), context);
        Assert.Equal(PipelineOutcome.Write, ended.Outcome);
        free = (JsonObject)ended.Object!.DeepClone();
        free["metadata"]!.AsObject().Remove("finalizers");
        Assert.Equal(PipelineOutcome.Remove, SampleObjects.Update(Pods, free, ended.Object).Outcome);
    }

    [Fact]
    public void A_namespace_waits_for_finalize()
    {
        var stored = SampleObjects.Stored(Namespaces);
        Assert.Equal("sample", stored["metadata"]!["labels"].As("kubernetes.io/metadata.name"));
        var marked = ObjectPipeline.Delete(stored, new DeleteOptions(), SampleObjects.Context(Namespaces));
        Assert.Equal(PipelineOutcome.Write, marked.Outcome);
        Assert.Equal("Terminating", marked.Object!["status"].As("phase"));

        var attempt = (JsonObject)marked.Object.DeepClone();
        attempt["spec"] = new JsonObject();
        Assert.Equal(PipelineOutcome.Unchanged, SampleObjects.Update(Namespaces, attempt, marked.Object).Outcome);
        Assert.Equal(PipelineOutcome.Remove, SampleObjects.Update(Namespaces, attempt, marked.Object, "finalize").Outcome);
    }

    [Fact]
    public void Scale_reads_and_writes_replicas()
    {
        var stored = SampleObjects.Stored(Controllers);
        var scale = Controllers.Strategy.View(stored, "scale");
        Assert.Equal(
            """{"kind":"Scale","apiVersion":"autoscaling/v1","metadata":{"name":"sample","namespace":"ns","uid":"11111111-2222-3333-4444-555555555555","resourceVersion":"7","creationTimestamp":"2026-01-02T03:04:05Z"},"spec":{"replicas":1},"status":{"replicas":0,"selector":"app=web"}}""",
            scale.ToJsonString());

        scale["spec"]!["replicas"] = 4;
        var result = SampleObjects.Update(Controllers, scale, stored, "scale");
        Assert.Null(result.Error);
        Assert.Equal(4, result.Object!["spec"]!.AsObject().GetLong("replicas"));
        Assert.Equal(2, Meta(result).GetLong("generation"));

        scale["spec"]!["replicas"] = -1;
        Assert.Equal("Scale.autoscaling \"sample\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            SampleObjects.Update(Controllers, scale, stored, "scale").Error?.Message);
        scale["metadata"]!["resourceVersion"] = "6";
        Assert.Equal(409, SampleObjects.Update(Controllers, scale, stored, "scale").Error?.Code);
        Assert.NotNull(SampleObjects.Update(Pods, scale, SampleObjects.Stored(Pods), "scale").Error);
    }

    [Fact]
    public void Generation_counts_changes_of_the_spec_only()
    {
        var stored = SampleObjects.Stored(Controllers);
        var labelled = (JsonObject)stored.DeepClone();
        labelled["metadata"]!["labels"]!["x"] = "y";
        Assert.Equal(1, Meta(SampleObjects.Update(Controllers, labelled, stored)).GetLong("generation"));
        var changed = (JsonObject)stored.DeepClone();
        changed["spec"]!["replicas"] = 2;
        changed["metadata"]!["generation"] = 77;
        Assert.Equal(2, Meta(SampleObjects.Update(Controllers, changed, stored)).GetLong("generation"));

        var slices = Registry.Get("endpointslices.discovery.k8s.io");
        stored = SampleObjects.Stored(slices);
        labelled = (JsonObject)stored.DeepClone();
        labelled["metadata"]!["labels"] = new JsonObject { ["x"] = "y" };
        Assert.Equal(2, Meta(SampleObjects.Update(slices, labelled, stored)).GetLong("generation"));
    }

    [Fact]
    public void Binding_gives_a_pod_its_node_once()
    {
        var stored = SampleObjects.Stored(Pods);
        var binding = (JsonObject)JsonNode.Parse(
            """{"kind":"Binding","apiVersion":"v1","metadata":{"name":"sample","annotations":{"a":"b"}},"target":{"kind":"Node","name":"n1"}}""")!;

        var bound = SampleObjects.Update(Pods, binding, stored, "binding");

        Assert.Null(bound.Error);
        Assert.Equal("n1", bound.Object!["spec"].As("nodeName"));
        Assert.Equal("b", bound.Object["metadata"]!["annotations"].As("a"));
        Assert.True(Conditions.IsTrue(bound.Object["status"] as JsonObject, "PodScheduled"));

        var again = SampleObjects.Update(Pods, binding, bound.Object, "binding").Error;
        Assert.Equal("Operation cannot be fulfilled on pods/binding \"sample\": pod sample is already assigned to node \"n1\"", again?.Message);
        binding["target"]!["name"] = "";
        Assert.Equal(422, SampleObjects.Update(Pods, binding, stored, "binding").Error?.Code);
        binding["target"] = new JsonObject { ["kind"] = "Toaster", ["name"] = "n1" };
        Assert.Equal(422, SampleObjects.Update(Pods, binding, stored, "binding").Error?.Code);
        binding["target"] = new JsonObject { ["kind"] = "Node", ["name"] = "n1" };
        binding["metadata"]!["uid"] = "other";
        Assert.Equal(409, SampleObjects.Update(Pods, binding, stored, "binding").Error?.Code);
    }

    [Fact]
    public void Pod_defaults_are_those_users_know()
    {
        var pod = SampleObjects.Stored(Pods, SampleObjects.Parse(Pods, """
            {"spec":{"serviceAccountName":"sa","hostNetwork":true,"containers":[{"name":"c","image":"reg:5000/web","ports":[{"containerPort":80}],
            "resources":{"limits":{"cpu":"1","memory":"1Gi"}},"livenessProbe":{"httpGet":{"port":80}}}],
            "volumes":[{"name":"v"},{"name":"w","configMap":{"name":"m"}}]}}
            """));
        var expected = JsonNode.Parse("""
            {"serviceAccountName":"sa","hostNetwork":true,"containers":[{"name":"c","image":"reg:5000/web",
              "ports":[{"containerPort":80,"protocol":"TCP","hostPort":80}],
              "resources":{"limits":{"cpu":"1","memory":"1Gi"},"requests":{"cpu":"1","memory":"1Gi"}},
              "livenessProbe":{"httpGet":{"port":80,"path":"/","scheme":"HTTP"},"timeoutSeconds":1,"periodSeconds":10,"successThreshold":1,"failureThreshold":3},
              "terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"Always"}],
            "volumes":[{"name":"v","emptyDir":{}},{"name":"w","configMap":{"name":"m","defaultMode":420}}],
            "restartPolicy":"Always","dnsPolicy":"ClusterFirst","schedulerName":"default-scheduler","terminationGracePeriodSeconds":30,
            "securityContext":{},"enableServiceLinks":true,"serviceAccount":"sa"}
            """);
        Assert.True(JsonNode.DeepEquals(expected, pod["spec"]), pod["spec"]!.ToJsonString());
        Assert.Equal("""{"phase":"Pending","qosClass":"Guaranteed"}""", pod["status"]!.ToJsonString());
    }

    [Theory]
    [InlineData("{}", "BestEffort")]
    [InlineData("""{"requests":{"cpu":"1"}}""", "Burstable")]
    [InlineData("""{"limits":{"cpu":"1","memory":"1Gi"}}""", "Guaranteed")]
    [InlineData("""{"limits":{"cpu":"1","memory":"1Gi"},"requests":{"cpu":"500m"}}""", "Burstable")]
    [InlineData("""{"limits":{"cpu":"1"}}""", "Burstable")]
    public void Pods_have_a_class_of_service(string resources, string expected)
    {
        var pod = SampleObjects.Parse(Pods, $$$"""{"spec":{"containers":[{"name":"c","image":"i","resources":{{{resources}}}}]}}""");
        Assert.Equal(expected, SampleObjects.Stored(Pods, pod)["status"].As("qosClass"));
    }

    [Theory]
    [InlineData("web", true)]
    [InlineData("web:latest", true)]
    [InlineData("web:1", false)]
    [InlineData("reg:5000/web", true)]
    [InlineData("reg:5000/web:1", false)]
    [InlineData("web@sha256:abc", false)]
    [InlineData("web:1@sha256:abc", false)]
    public void Images_without_a_version_are_pulled_always(string image, bool latest) => Assert.Equal(latest, PodDefaults.IsLatest(image));

    [Fact]
    public void Secrets_fold_their_plain_texts()
    {
        var secrets = Registry.Get("secrets");
        var secret = SampleObjects.Stored(secrets, SampleObjects.Parse(secrets, """{"data":{"a":"YQ=="},"stringData":{"b":"hé"}}"""));
        Assert.Equal("""{"a":"YQ==","b":"aMOp"}""", CanonicalText(secret["data"]!));
        Assert.False(secret.Has("stringData"));
        Assert.Equal("Opaque", secret.GetString("type"));
    }

    [Fact]
    public void Service_defaults_and_kept_allocations()
    {
        var stored = SampleObjects.Stored(Services);
        Assert.Equal(
            """{"ports":[{"port":80,"protocol":"TCP","targetPort":80}],"selector":{"app":"web"},"type":"ClusterIP","sessionAffinity":"None","internalTrafficPolicy":"Cluster","ipFamilyPolicy":"SingleStack","ipFamilies":["IPv4"]}""",
            CanonicalText(stored["spec"]!));
        stored["spec"]!["clusterIP"] = "10.96.0.7";
        stored["spec"]!["clusterIPs"] = new JsonArray("10.96.0.7");

        // A manifest that never named the address keeps it.
        var again = SampleObjects.Make(Services);
        again["metadata"]!["resourceVersion"] = "7";
        var result = SampleObjects.Update(Services, again, stored);
        Assert.Null(result.Error);
        Assert.Equal(PipelineOutcome.Unchanged, result.Outcome);

        // Another address is refused.
        again = (JsonObject)stored.DeepClone();
        again["spec"]!["clusterIP"] = "10.96.0.8";
        again["spec"]!["clusterIPs"] = new JsonArray("10.96.0.8");
        Assert.Equal("Service \"sample\" is invalid: spec.clusterIPs[0]: Invalid value: []string{\"10.96.0.8\"}: may not change once set",
            SampleObjects.Update(Services, again, stored).Error?.Message);

        // A type without addresses drops them.
        again = (JsonObject)stored.DeepClone();
        again["spec"]!["type"] = "ExternalName";
        again["spec"]!["externalName"] = "e.example.com";
        result = SampleObjects.Update(Services, again, stored);
        Assert.Null(result.Error);
        Assert.False(result.Object!["spec"]!.AsObject().Has("clusterIPs"));
        Assert.False(result.Object["spec"]!.AsObject().Has("ipFamilies"));
    }

    [Fact]
    public void Service_keeps_node_ports_and_drops_them_with_the_type()
    {
        var stored = SampleObjects.Stored(Services, SampleObjects.Parse(Services, """{"spec":{"type":"NodePort","ports":[{"port":80,"nodePort":30080}]}}"""));
        Assert.Equal("Cluster", stored["spec"].As("externalTrafficPolicy"));

        var again = SampleObjects.Parse(Services, """{"spec":{"type":"NodePort","ports":[{"port":80}]}}""");
        Assert.Equal(PipelineOutcome.Unchanged, SampleObjects.Update(Services, again, stored).Outcome);

        again = (JsonObject)stored.DeepClone();
        again["spec"]!["type"] = "ClusterIP";
        var result = SampleObjects.Update(Services, again, stored);
        Assert.Null(result.Error);
        Assert.False(result.Object!["spec"]!["ports"]![0]!.AsObject().Has("nodePort"));
        Assert.False(result.Object["spec"]!.AsObject().Has("externalTrafficPolicy"));
    }

    [Fact]
    public void Controller_takes_selector_and_labels_from_its_template()
    {
        var stored = SampleObjects.Stored(Controllers);
        Assert.Equal("web", stored["spec"]!["selector"].As("app"));
        Assert.Equal("web", stored["metadata"]!["labels"].As("app"));
        Assert.Equal(1, stored["spec"]!.AsObject().GetLong("replicas"));
        Assert.False(stored["spec"]!["template"]!["spec"]!.AsObject().Has("enableServiceLinks"));
        Assert.Equal("""{"replicas":0}""", stored["status"]!.ToJsonString());
    }

    [Fact]
    public void Delete_options_survive_the_round_trip()
    {
        var options = new DeleteOptions(5, "Orphan", "u", "9") { DryRun = true };
        Assert.Equal(options, DeleteOptions.FromJson(options.ToJson()));
        Assert.Equal(new DeleteOptions(), DeleteOptions.FromJson(null));
        Assert.True(DeleteOptions.FromJson(new JsonObject { ["orphanDependents"] = true }).OrphanDependents);
    }

    private static JsonObject Bound()
    {
        var pod = SampleObjects.Stored(Pods);
        pod["spec"]!["nodeName"] = "n1";
        return pod;
    }

    private static JsonObject Meta(PipelineResult result)
    {
        Assert.Null(result.Error);
        return result.Object!["metadata"]!.AsObject();
    }

    private static string CanonicalText(JsonNode node) => System.Text.Encoding.UTF8.GetString(CanonicalJson.SerializeNode(node));
}
