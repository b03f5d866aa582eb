using System.Text.Json;
using OrleansCluster.Api;

namespace OrleansCluster.Tests.Api;

/// <summary>Known answers of `kubectl get -o wide`, at a fixed time.</summary>
public sealed class TableTests
{
    private static readonly ResourceRegistry Registry = new(BuiltInResources.All);
    private static readonly DateTimeOffset Now = new(2026, 1, 2, 0, 0, 0, TimeSpan.Zero);
    private const string Meta = "\"metadata\":{\"name\":\"x\",\"creationTimestamp\":\"2026-01-01T23:55:00Z\"}";

    public static TheoryData<string, string, string> Rows => new()
    {
        { "namespaces", "\"status\":{\"phase\":\"Active\"}", "x|Active|5m" },
        { "configmaps", "\"data\":{\"a\":\"\",\"b\":\"\"},\"binaryData\":{\"c\":\"\"}", "x|3|5m" },
        { "secrets", "\"type\":\"Opaque\",\"data\":{\"a\":\"\"}", "x|Opaque|1|5m" },
        { "serviceaccounts", "\"secrets\":[{\"name\":\"s\"}]", "x|1|5m" },
        { "leases.coordination.k8s.io", "\"spec\":{\"holderIdentity\":\"me\"}", "x|me|5m" },
        {
            "nodes",
            """
            "status":{"conditions":[{"type":"Ready","status":"True"}],"addresses":[{"type":"Hostname","address":"h"},{"type":"InternalIP","address":"10.0.0.9"}],
            "nodeInfo":{"kubeletVersion":"v1.32.4","osImage":"Debian","kernelVersion":"6.1","containerRuntimeVersion":"docker://27"}},
            "spec":{"unschedulable":true}
            """,
            "x|Ready,SchedulingDisabled|<none>|5m|v1.32.4|10.0.0.9|<none>|Debian|6.1|docker://27"
        },
        { "nodes", "\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"Unknown\"}]}", "x|NotReady|<none>|5m||<none>|<none>|<unknown>|<unknown>|<unknown>" },
        { "nodes", "\"spec\":{}", "x|Unknown|<none>|5m||<none>|<none>|<unknown>|<unknown>|<unknown>" },
        {
            "replicationcontrollers",
            """
            "spec":{"replicas":3,"selector":{"b":"2","a":"1"},"template":{"spec":{"containers":[{"name":"c","image":"i:1"},{"name":"d","image":"j"}]}}},
            "status":{"replicas":2,"readyReplicas":1}
            """,
            "x|3|2|1|5m|c,d|i:1,j|a=1,b=2"
        },
        {
            "services",
            """ "spec":{"type":"ClusterIP","clusterIP":"10.96.0.1","clusterIPs":["10.96.0.1"],"ports":[{"port":80,"protocol":"TCP"},{"port":53,"protocol":"UDP"}]}""",
            "x|ClusterIP|10.96.0.1|<none>|80/TCP,53/UDP|5m|<none>"
        },
        {
            "services",
            """ "spec":{"type":"NodePort","clusterIPs":["10.96.0.1"],"ports":[{"port":80,"nodePort":30001,"protocol":"TCP"}],"selector":{"app":"w"},"externalIPs":["1.2.3.4"]}""",
            "x|NodePort|10.96.0.1|1.2.3.4|80:30001/TCP|5m|app=w"
        },
        { "services", """ "spec":{"type":"ClusterIP","clusterIPs":["None"]}""", "x|ClusterIP|None|<none>|<none>|5m|<none>" },
        { "services", """ "spec":{"type":"ExternalName","externalName":"e.example.com"}""", "x|ExternalName|<none>|e.example.com|<none>|5m|<none>" },
        { "services", """ "spec":{"type":"LoadBalancer","clusterIPs":["10.96.0.1"]}""", "x|LoadBalancer|10.96.0.1|<pending>|<none>|5m|<none>" },
        {
            "services", """ "spec":{"type":"LoadBalancer","clusterIPs":["10.96.0.1"]},"status":{"loadBalancer":{"ingress":[{"ip":"9.9.9.9"}]}}""",
            "x|LoadBalancer|10.96.0.1|9.9.9.9|<none>|5m|<none>"
        },
        { "endpoints", "\"subsets\":[]", "x|<none>|5m" },
        {
            "endpoints",
            """ "subsets":[{"addresses":[{"ip":"10.0.0.1"},{"ip":"10.0.0.2"}],"ports":[{"port":80},{"port":81}]}]""",
            "x|10.0.0.1:80,10.0.0.2:80,10.0.0.1:81 + 1 more...|5m"
        },
        { "endpointslices.discovery.k8s.io", "\"addressType\":\"IPv4\"", "x|IPv4|<unset>|<unset>|5m" },
        {
            "endpointslices.discovery.k8s.io",
            """ "addressType":"IPv4","ports":[{"name":"a","port":80},{"port":81}],"endpoints":[{"addresses":["10.0.0.1"]},{"addresses":["10.0.0.2"]}]""",
            "x|IPv4|80,81|10.0.0.1,10.0.0.2|5m"
        },
        {
            "rolebindings.rbac.authorization.k8s.io",
            """
            "roleRef":{"kind":"Role","name":"r"},"subjects":[{"kind":"User","name":"u"},{"kind":"User","name":"v"},{"kind":"Group","name":"g"},
            {"kind":"ServiceAccount","name":"s","namespace":"n"}]
            """,
            "x|Role/r|5m|u, v|g|n/s"
        },
        { "roles.rbac.authorization.k8s.io", "\"rules\":[]", "x|2026-01-01T23:55:00Z" },
        {
            "events",
            """
            "involvedObject":{"kind":"Pod","name":"p","fieldPath":"spec.containers{c}"},"reason":"Started","message":" m \n","type":"Normal","count":3,
            "firstTimestamp":"2026-01-01T23:50:00Z","lastTimestamp":"2026-01-01T23:59:30Z","source":{"component":"kubelet","host":"n1"}
            """,
            "30s|Normal|Started|pod/p|spec.containers{c}|kubelet, n1|m|10m|3|x"
        },
        {
            "events",
            """
            "involvedObject":{"kind":"Pod","name":"p"},"type":"Warning","reason":"R","eventTime":"2026-01-01T23:59:00.000000Z","reportingComponent":"s",
            "series":{"count":7,"lastObservedTime":"2026-01-01T23:59:50.000000Z"}
            """,
            "10s|Warning|R|pod/p||s||60s|7|x"
        },
    };

    [Theory, MemberData(nameof(Rows))]
    public void Cells(string resource, string members, string expected) => Assert.Equal(expected, Row(resource, members).Cells);

    public static TheoryData<string, string> Pods => new()
    {
        { """ "spec":{"containers":[{"name":"c"}]},"status":{"phase":"Pending"} """, "0/1|Pending|0" },
        { """ "spec":{"containers":[{}]},"status":{"phase":"Pending","conditions":[{"type":"PodScheduled","status":"False","reason":"SchedulingGated"}]} """, "0/1|SchedulingGated|0" },
        { """ "spec":{"containers":[{}]},"status":{"phase":"Pending","containerStatuses":[{"state":{"waiting":{"reason":"ContainerCreating"}}}]} """, "0/1|ContainerCreating|0" },
        { """ "spec":{"containers":[{},{}]},"status":{"phase":"Running","containerStatuses":[{"ready":true,"restartCount":1,"state":{"running":{}}},{"restartCount":2,"state":{"waiting":{"reason":"CrashLoopBackOff"}},"lastState":{"terminated":{"finishedAt":"2026-01-01T23:58:00Z"}}}]} """, "1/2|CrashLoopBackOff|3 (2m ago)" },
        { """ "spec":{"containers":[{}]},"status":{"phase":"Running","containerStatuses":[{"ready":true,"restartCount":4,"state":{"running":{}}}]} """, "1/1|Running|4" },
        { """ "spec":{"containers":[{}]},"status":{"phase":"Succeeded","containerStatuses":[{"state":{"terminated":{"exitCode":0,"reason":"Completed"}}}]} """, "0/1|Completed|0" },
        { """ "spec":{"containers":[{}]},"status":{"phase":"Failed","containerStatuses":[{"state":{"terminated":{"exitCode":3}}}]} """, "0/1|ExitCode:3|0" },
        { """ "spec":{"containers":[{}]},"status":{"phase":"Failed","containerStatuses":[{"state":{"terminated":{"exitCode":137,"signal":9}}}]} """, "0/1|Signal:9|0" },
        { """ "spec":{"containers":[{}]},"status":{"phase":"Failed","reason":"Evicted"} """, "0/1|Evicted|0" },
        { """ "spec":{"containers":[{},{}]},"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}],"containerStatuses":[{"state":{"terminated":{"exitCode":0,"reason":"Completed"}}},{"ready":true,"state":{"running":{}}}]} """, "1/2|Running|0" },
        { """ "spec":{"containers":[{},{}]},"status":{"phase":"Running","containerStatuses":[{"state":{"terminated":{"exitCode":0,"reason":"Completed"}}},{"ready":true,"state":{"running":{}}}]} """, "1/2|NotReady|0" },
        { """ "spec":{"containers":[{}],"initContainers":[{"name":"i"},{"name":"j"}]},"status":{"phase":"Pending","initContainerStatuses":[{"name":"i","restartCount":2,"state":{"terminated":{"exitCode":0}}},{"name":"j","state":{"waiting":{"reason":"PodInitializing"}}}]} """, "0/1|Init:1/2|2" },
        { """ "spec":{"containers":[{}],"initContainers":[{"name":"i"}]},"status":{"phase":"Pending","initContainerStatuses":[{"name":"i","state":{"waiting":{"reason":"CrashLoopBackOff"}}}]} """, "0/1|Init:CrashLoopBackOff|0" },
        { """ "spec":{"containers":[{}],"initContainers":[{"name":"i"}]},"status":{"phase":"Failed","initContainerStatuses":[{"name":"i","state":{"terminated":{"exitCode":2}}}]} """, "0/1|Init:ExitCode:2|0" },
        { """ "spec":{"containers":[{}],"initContainers":[{"name":"i"}]},"status":{"phase":"Failed","initContainerStatuses":[{"name":"i","state":{"terminated":{"exitCode":2,"reason":"Error"}}}]} """, "0/1|Init:Error|0" },
        { """ "spec":{"containers":[{}],"initContainers":[{"name":"s","restartPolicy":"Always"}]},"status":{"phase":"Running","initContainerStatuses":[{"name":"s","started":true,"ready":true,"restartCount":1,"state":{"running":{}}}],"containerStatuses":[{"ready":true,"state":{"running":{}}}]} """, "2/2|Running|1" },
    };

    [Theory, MemberData(nameof(Pods))]
    public void Pod_status(string members, string expected) =>
        Assert.Equal($"x|{expected}|5m|<none>|<none>|<none>|<none>", Row("pods", members).Cells);

    [Fact]
    public void Pod_wide_cells()
    {
        var members = """
            "spec":{"nodeName":"n1","containers":[{}],"readinessGates":[{"conditionType":"g"},{"conditionType":"h"}]},
            "status":{"phase":"Running","podIP":"10.0.0.1","podIPs":[{"ip":"10.0.0.1"}],"nominatedNodeName":"n2","conditions":[{"type":"g","status":"True"}]}
            """;
        Assert.Equal("x|0/1|Running|0|5m|10.0.0.1|n1|n2|1/2", Row("pods", members).Cells);
    }

    [Theory]
    [InlineData("Running", "", "Terminating")]
    [InlineData("Succeeded", "", "Succeeded")]
    [InlineData("Running", "NodeLost", "Unknown")]
    public void Pod_being_deleted(string phase, string reason, string expected)
    {
        var json = $$$"""
            {"metadata":{"name":"x","deletionTimestamp":"2026-01-01T00:00:00Z"},"spec":{"containers":[{}]},"status":{"phase":"{{{phase}}}","reason":"{{{reason}}}"}}
            """;
        var row = new TableRow();
        using var document = JsonDocument.Parse(json);
        Registry.Get("pods").Strategy.WriteRow(document.RootElement, Now, row);
        Assert.Equal(expected, (string?)row.Cells[2]);
    }

    [Fact]
    public void Finished_pods_have_a_row_condition()
    {
        Assert.Equal("Succeeded", Row("pods", "\"status\":{\"phase\":\"Succeeded\"}").Condition);
        Assert.Equal("Failed", Row("pods", "\"status\":{\"phase\":\"Failed\"}").Condition);
        Assert.Null(Row("pods", "\"status\":{\"phase\":\"Running\"}").Condition);
    }

    [Fact]
    public void Node_roles_come_from_labels()
    {
        var row = new TableRow();
        using var document = JsonDocument.Parse(
            """{"metadata":{"name":"x","labels":{"node-role.kubernetes.io/worker":"","node-role.kubernetes.io/control-plane":"","kubernetes.io/role":"a"}}}""");
        Registry.Get("nodes").Strategy.WriteRow(document.RootElement, Now, row);
        Assert.Equal("a,control-plane,worker", (string?)row.Cells[2]);
    }

    private static (string Cells, string? Condition) Row(string resource, string members)
    {
        var row = new TableRow();
        using var document = JsonDocument.Parse($"{{{Meta},{members}}}");
        Registry.Get(resource).Strategy.WriteRow(document.RootElement, Now, row);
        return (string.Join('|', row.Cells.Select(c => c?.ToString())), (string?)row.Conditions?[0]?["reason"]);
    }
}
