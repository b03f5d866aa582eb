namespace OrleansCluster.ApiServer.Tests;

public sealed class ObjectTests(TestCluster cluster) : KubernetesTest(cluster)
{
    [Fact]
    public async Task Create_then_get_answers_the_same_object()
    {
        var ns = await NewNamespaceAsync();
        var created = await CreateConfigMapAsync(ns, "a", data: """{"k":"v"}""");
        Assert.Equal(201, created.Code);
        var read = await GetAsync($"/api/v1/namespaces/{ns}/configmaps/a");
        Assert.Equal(200, read.Code);
        Assert.Equal(created.Text, read.Text);
        Assert.Equal("application/json", read.ContentType);
    }
}
