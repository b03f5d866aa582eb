using System.Diagnostics;

namespace OrleansCluster.ApiServer.Tests;

/// <summary>The real kubectl, unmodified; skipped where none is installed.</summary>
public sealed class KubectlTests(TestCluster cluster) : KubernetesTest(cluster)
{
    [Fact]
    public async Task Apply_get_label_scale_and_delete()
    {
        var ns = await NewNamespaceAsync();
        var manifest = Path.Combine(Cluster.Folder, ns + ".yaml");
        await File.WriteAllTextAsync(manifest, """
            apiVersion: v1
            kind: ConfigMap
            metadata: {name: settings}
            data: {k: v}
            ---
            apiVersion: v1
            kind: ReplicationController
            metadata: {name: web}
            spec:
              replicas: 1
              selector: {app: web}
              template:
                metadata: {labels: {app: web}}
                spec:
                  containers: [{name: c, image: web}]
            """, Token);
        Assert.Contains("configmap/settings created", await KubectlAsync("-n", ns, "apply", "-f", manifest), StringComparison.Ordinal);
        Assert.Contains("configmap/settings unchanged", await KubectlAsync("-n", ns, "apply", "-f", manifest), StringComparison.Ordinal);
        Assert.Contains("DESIRED", await KubectlAsync("-n", ns, "get", "rc", "web"), StringComparison.Ordinal);
        Assert.Contains("replicationcontroller/web scaled", await KubectlAsync("-n", ns, "scale", "rc", "web", "--replicas=2"), StringComparison.Ordinal);
        Assert.Equal("2", await KubectlAsync("-n", ns, "get", "rc", "web", "-o", "jsonpath={.spec.replicas}"));
        await KubectlAsync("-n", ns, "label", "cm", "settings", "a=b");
        Assert.Contains("a=b", await KubectlAsync("-n", ns, "get", "cm", "settings", "--show-labels"), StringComparison.Ordinal);
        await KubectlAsync("-n", ns, "patch", "cm", "settings", "-p", """{"data":{"k":"w"}}""");
        Assert.Equal("w", await KubectlAsync("-n", ns, "get", "cm", "settings", "-o", "jsonpath={.data.k}"));
        Assert.Contains("configmap \"settings\" deleted", await KubectlAsync("-n", ns, "delete", "cm", "settings"), StringComparison.Ordinal);
        await KubectlAsync("-n", ns, "delete", "rc", "web", "--cascade=background");
    }

    [Fact]
    public async Task Creates_with_protobuf_bodies()
    {
        var ns = await NewNamespaceAsync();
        await KubectlAsync("-n", ns, "create", "configmap", "c", "--from-literal=a=b");
        Assert.Equal("b", await KubectlAsync("-n", ns, "get", "cm", "c", "-o", "jsonpath={.data.a}"));
        await KubectlAsync("-n", ns, "create", "secret", "generic", "s", "--from-literal=a=b");
        await KubectlAsync("-n", ns, "create", "serviceaccount", "robot");
        await KubectlAsync("-n", ns, "create", "role", "r", "--verb=get", "--resource=pods");
        await KubectlAsync("-n", ns, "create", "rolebinding", "rb", "--role=r", $"--serviceaccount={ns}:robot");
        await KubectlAsync("-n", ns, "create", "service", "clusterip", "svc", "--tcp=80:80");
        Assert.Contains("yes", await KubectlAsync("-n", ns, "auth", "can-i", "get", "pods", $"--as=system:serviceaccount:{ns}:robot"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Describes_itself()
    {
        Assert.Contains("Server Version: v1.32", await KubectlAsync("version"), StringComparison.Ordinal);
        Assert.Contains("replicationcontrollers", await KubectlAsync("api-resources"), StringComparison.Ordinal);
        Assert.Contains("kubernetes-admin", await KubectlAsync("auth", "whoami"), StringComparison.Ordinal);
        Assert.Contains("containers", await KubectlAsync("explain", "pod.spec"), StringComparison.Ordinal);
        Assert.Contains("default", await KubectlAsync("get", "ns", "--chunk-size=1"), StringComparison.Ordinal);
        Assert.Contains("ok", await KubectlAsync("get", "--raw", "/readyz"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Errors_reach_the_person()
    {
        var ns = await NewNamespaceAsync();
        Assert.Contains("Error from server (NotFound): pods \"x\" not found", await KubectlAsync(fails: true, "-n", ns, "get", "pod", "x"), StringComparison.Ordinal);
        await KubectlAsync("-n", ns, "create", "configmap", "c");
        Assert.Contains("already exists", await KubectlAsync(fails: true, "-n", ns, "create", "configmap", "c"), StringComparison.Ordinal);
        Assert.Contains("(Forbidden)", await KubectlAsync(fails: true, "get", "nodes", "--as=nobody"), StringComparison.Ordinal);
    }

    private Task<string> KubectlAsync(params string[] arguments) => KubectlAsync(fails: false, arguments);

    private async Task<string> KubectlAsync(bool fails, params string[] arguments)
    {
        var start = new ProcessStartInfo("kubectl", ["--kubeconfig", Cluster.Kubeconfig, "--cache-dir", Path.Combine(Cluster.Folder, "cache"), .. arguments])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
        };
        Process process;
        try
        {
            process = Process.Start(start)!;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            Assert.Skip("kubectl is not installed");
            throw;
        }
        using (process)
        {
            var output = process.StandardOutput.ReadToEndAsync(Token);
            var errors = process.StandardError.ReadToEndAsync(Token);
            await process.WaitForExitAsync(Token);
            Assert.True(process.ExitCode == 0 != fails, $"kubectl {string.Join(' ', arguments)}: {await output}{await errors}");
            return fails ? await errors : await output;
        }
    }
}
