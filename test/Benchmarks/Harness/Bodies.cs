using System.Text;

namespace OrleansCluster.Benchmarks;

/// <summary>Objects as clients send them.</summary>
internal static class Bodies
{
    /// <summary>A counter's place in an annotation, so that an update changes bytes and parses nothing.</summary>
    private const string Marker = "00000000";

    /// <summary>A config map with three keys, about 400 bytes stored.</summary>
    public static byte[] ConfigMap(string name) => Encoding.UTF8.GetBytes(
        $$$"""{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"{{{name}}}","labels":{"app":"bench"},"annotations":{"bench/counter":"{{{Marker}}}"} },"data":{"host":"db.example.org","port":"5432","settings":"level=info\nworkers=4\n"}}""");

    /// <summary>A pod of one container with requests, limits, a probe, environment and labels: about 2 KiB stored.</summary>
    /// <param name="name">Name.</param>
    /// <param name="scheduler">`spec.schedulerName`; one that does not exist keeps the scheduler out of what is measured.</param>
    public static byte[] Pod(string name, string scheduler = "none") => Encoding.UTF8.GetBytes(
        $$$"""
        {"apiVersion":"v1","kind":"Pod","metadata":{"name":"{{{name}}}","labels":{"app":"bench","tier":"front"},"annotations":{"bench/counter":"{{{Marker}}}"} },
        "spec":{"schedulerName":"{{{scheduler}}}","terminationGracePeriodSeconds":0,"containers":[{"name":"app","image":"example.org/bench/app:1.2.3","ports":[{"containerPort":8080}],
        "env":[{"name":"LEVEL","value":"info"},{"name":"WORKERS","value":"4"}],
        "resources":{"requests":{"cpu":"10m","memory":"16Mi"},"limits":{"cpu":"100m","memory":"64Mi"} },
        "readinessProbe":{"httpGet":{"path":"/healthz","port":8080} } }]} }
        """);

    /// <summary>A node as its agent would register it, ready, with room for 110 pods.</summary>
    public static byte[] Node(int number) => Encoding.UTF8.GetBytes(
        $$$"""
        {"apiVersion":"v1","kind":"Node","metadata":{"name":"bench-{{{number:00000}}}","labels":{"kubernetes.io/hostname":"bench-{{{number:00000}}}","kubernetes.io/os":"linux"} },
        "spec":{"podCIDR":"10.{{{128 + (number / 256)}}}.{{{number % 256}}}.0/24","podCIDRs":["10.{{{128 + (number / 256)}}}.{{{number % 256}}}.0/24"]},
        "status":{"capacity":{"cpu":"8","memory":"32Gi","pods":"110"},"allocatable":{"cpu":"8","memory":"32Gi","pods":"110"},
        "conditions":[{"type":"Ready","status":"True","reason":"KubeletReady","message":"ready","lastHeartbeatTime":"2024-01-01T00:00:00Z","lastTransitionTime":"2024-01-01T00:00:00Z"}]}}
        """);

    /// <summary>A replication controller.</summary>
    public static byte[] Controller(string name, int replicas) => Encoding.UTF8.GetBytes(
        $$$"""
        {"apiVersion":"v1","kind":"ReplicationController","metadata":{"name":"{{{name}}}"},"spec":{"replicas":{{{replicas}}},"selector":{"app":"{{{name}}}"},
        "template":{"metadata":{"labels":{"app":"{{{name}}}"}},"spec":{"containers":[{"name":"app","image":"example.org/bench/app:1.2.3",
        "resources":{"requests":{"cpu":"10m","memory":"16Mi"} } }]} } } }
        """);

    /// <summary>Makes a stored object updatable over and over: its resourceVersion is taken out, so that an update is unconditional.</summary>
    public static byte[] WithoutRevision(byte[] stored)
    {
        var at = stored.AsSpan().IndexOf("\"resourceVersion\":\""u8);
        if (at < 0)
            return stored;
        var end = at + "\"resourceVersion\":\""u8.Length;
        end += stored.AsSpan(end).IndexOf((byte)'"') + 1;
        if (stored[end] == (byte)',')
            end++;
        return [.. stored.AsSpan(0, at), .. stored.AsSpan(end)];
    }

    /// <summary>A copy with the counter set, so that the update is a change.</summary>
    public static byte[] WithCounter(byte[] body, int counter)
    {
        var copy = (byte[])body.Clone();
        var at = copy.AsSpan().IndexOf("bench/counter\":\""u8) + "bench/counter\":\""u8.Length;
        System.Buffers.Text.Utf8Formatter.TryFormat(counter, copy.AsSpan(at, Marker.Length), out _, new System.Buffers.StandardFormat('D', 8));
        return copy;
    }
}
